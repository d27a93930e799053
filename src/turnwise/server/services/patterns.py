"""Regular expressions in JSON Schemas that clients send: each is searched for a moment, all of them for a few at most.

The validator's own keywords search without an end, so those that do are replaced. `unevaluatedProperties` is not: it
would search beside patterns for names, and such a schema is refused.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, cast

__all__ = ["Keyword", "bounded", "searching", "unreadable"]

SECONDS: Final = 0.01
"""How long one pattern may be searched in one text."""
ALTOGETHER: Final = 0.1
"""How long all of a schema's patterns may be searched in what is checked."""
LONGEST_SHOWN: Final = 300


class Descends(Protocol):
    """The validator, as a keyword sees it."""

    def descend(self, instance: object, schema: object, path: str = ...) -> Iterator[Exception]:
        """Return what is wrong with the value at `path`."""
        ...


Keyword: TypeAlias = Callable[[Descends, Any, object, Mapping[str, object]], Iterator[Exception] | None]
"""Checks an instance against what stands under a keyword of a schema."""


class Undecided(Exception):
    """A pattern was searched for too long, or is none."""


@dataclass(slots=True)
class Patience:
    """How many seconds may still be spent on searching."""

    left: float = ALTOGETHER


_patience: Final[ContextVar[Patience]] = ContextVar("patience")


@contextmanager
def searching() -> Generator[None]:
    """Bound what is searched in this context, all together."""
    token = _patience.set(Patience())
    try:
        yield
    finally:
        _patience.reset(token)


def unreadable(pattern: str) -> str | None:
    """Return why a pattern cannot be read, or None."""
    library = importlib.import_module("regex")
    try:
        library.compile(pattern)
    except library.error as error:
        return str(error)
    return None


def bounded(keywords: Mapping[str, Keyword]) -> Mapping[str, Keyword]:
    """Return what to put in the place of a dialect's `keywords`, so that no search goes on for long."""
    return {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _without_matching(keywords["additionalProperties"]),
    }


def _pattern(_validator: Descends, pattern: str, instance: object, _schema: object) -> Iterator[Exception]:
    if not isinstance(instance, str):
        return
    try:
        if not _found(pattern, instance):
            shown = repr(instance)
            shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
            yield _error(f"{shown} does not match {pattern!r}")
    except Undecided as undecided:
        yield _error(str(undecided))


def _pattern_properties(
    validator: Descends, patterns: Mapping[str, object], instance: object, _schema: object
) -> Iterator[Exception]:
    if not isinstance(instance, dict):
        return
    for pattern, part in patterns.items():
        for name, value in cast("dict[str, object]", instance).items():
            try:
                if _found(pattern, name):
                    yield from validator.descend(value, part, path=name)
            except Undecided as undecided:
                yield _error(str(undecided))


def _without_matching(additional: Keyword) -> Keyword:
    """Return the keyword for what is neither named nor matched, to which only what is not matched is shown."""

    def keyword(
        validator: Descends, allowed: object, instance: object, schema: Mapping[str, object]
    ) -> Iterator[Exception]:
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict) and isinstance(instance, dict):
            names = cast("dict[str, object]", patterns)
            items = cast("dict[str, object]", instance).items()
            schema = {key: value for key, value in schema.items() if key != "patternProperties"}
            try:
                instance = {name: value for name, value in items if not any(_found(each, name) for each in names)}
            except Undecided as undecided:
                yield _error(str(undecided))
                return
        yield from additional(validator, allowed, instance, schema) or ()

    return keyword


def _found(pattern: str, text: str) -> bool:
    library = importlib.import_module("regex")
    patience = _patience.get()
    began = time.perf_counter()
    try:
        # A timeout of nothing is over before it begins.
        return library.search(pattern, text, timeout=min(SECONDS, max(0.0, patience.left))) is not None
    except TimeoutError:
        raise Undecided(f"a text that takes too long to compare with the pattern {pattern!r}") from None
    except library.error:
        raise Undecided(f"nothing can be compared with {pattern!r}, which is no pattern") from None
    finally:
        patience.left -= time.perf_counter() - began


def _error(message: str) -> Exception:
    error: Exception = importlib.import_module("jsonschema").ValidationError(message)
    return error
