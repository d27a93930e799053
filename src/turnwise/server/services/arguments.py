"""What a model passes to a function, checked against the function's JSON Schema.

Schemas come from clients, so none of them may make the server fetch something (references point within the schema),
or stand still: patterns are searched for a moment at most, by a library that can be told to stop.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, Protocol, cast

import msgspec

from turnwise.server.services.patterns import bounded, searching, unreadable

__all__ = ["ArgumentsError", "SchemaError", "read_arguments", "validator_of"]

MOST_PROBLEMS: Final = 3
LONGEST_PROBLEM: Final = 300
REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
UNBOUNDED_TOGETHER: Final = ("patternProperties", "unevaluatedProperties")
KEPT: Final = 256
"""Validators that are kept: every request brings its functions anew."""
LONGEST_KEPT: Final = 32_768
"""Bytes of a schema; the validator of a longer one is made each time."""


@dataclass(frozen=True, slots=True)
class ArgumentsError:
    """Why a call cannot be made, in words for the model that made it."""

    message: str

    @property
    def result(self) -> dict[str, object]:
        """What the model gets in place of the function's result."""
        return {"error": self.message}


class SchemaError(Exception):
    """A JSON Schema that is none."""

    def __init__(self, problem: str, *, path: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path
        """Where, from the schema's root: `.properties.city.type`; empty for the root."""


class Problem(Protocol):
    """What the validator finds wrong."""

    @property
    def message(self) -> str: ...
    @property
    def absolute_path(self) -> Iterable[str | int]: ...


class Validator(Protocol):
    """A schema, ready to validate."""

    def iter_errors(self, instance: object, /) -> Iterator[Problem]:
        """Return what is wrong with `instance`."""
        ...


def read_arguments(name: str, schema: Mapping[str, object], text: str) -> dict[str, object] | ArgumentsError:
    """Return the arguments that a model wrote for the function `name`; nothing, and `null`, are none."""
    try:
        arguments: object = msgspec.json.decode(text) if text.strip() else {}
    except (msgspec.DecodeError, RecursionError) as error:
        return ArgumentsError(_refused(name, f"they are not JSON ({_shortened(str(error))})"))
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        return ArgumentsError(_refused(name, "a JSON object of arguments by their names was expected"))
    arguments = cast("dict[str, object]", arguments)
    try:
        with searching():
            problems = list(islice(_problems(validator_of(schema), arguments), MOST_PROBLEMS + 1))
    except (SchemaError, RecursionError, _unresolvable()):
        return ArgumentsError(f"The arguments of {name} cannot be checked: its own schema is broken. Go on without it.")
    if problems:
        shown = "; ".join(problems[:MOST_PROBLEMS])
        return ArgumentsError(_refused(name, shown + (" ..." if len(problems) > MOST_PROBLEMS else "")))
    return arguments


def validator_of(schema: Mapping[str, object]) -> Validator:
    """Return a validator of `schema`, made once for equal schemas.

    Raises:
        SchemaError: it is no JSON Schema, or refers to something outside itself.
    """
    data = msgspec.json.encode(schema)
    return _kept(data) if len(data) <= LONGEST_KEPT else _made(data)


def _made(data: bytes) -> Validator:
    schema: dict[str, object] = msgspec.json.decode(data)
    library = importlib.import_module("jsonschema")
    if not isinstance(schema.get("$schema", ""), str):
        raise SchemaError("expected the URL of a dialect of JSON Schema.", path=".$schema")
    dialect = library.validators.validator_for(schema, default=library.Draft202012Validator)
    try:
        dialect.check_schema(schema)
    except library.SchemaError as error:
        raise SchemaError(f"{_shortened(error.message)}.", path=_path(error.absolute_path)) from None
    except RecursionError:
        raise SchemaError("it is nested too deeply.") from None
    _check_references(schema, _lookup_in(schema), "")
    _check_patterns(schema, "")
    _check_unevaluated(schema)
    registry = importlib.import_module("referencing.jsonschema").EMPTY_REGISTRY  # the default one fetches URLs
    quick = library.validators.extend(dialect, bounded(dialect.VALIDATORS))
    return cast("Validator", quick(schema, registry=registry))


_kept = lru_cache(maxsize=KEPT)(_made)


def _lookup_in(schema: Mapping[str, object]) -> Callable[[str], object]:
    """Return what finds references in `schema`, and raises `referencing`'s `Unresolvable` for any other."""
    referencing = importlib.import_module("referencing.jsonschema")
    resource = importlib.import_module("referencing").Resource.from_contents(
        schema, default_specification=referencing.DRAFT202012
    )
    return cast("Callable[[str], object]", referencing.EMPTY_REGISTRY.resolver_with_root(resource).lookup)


def _check_references(value: object, lookup: Callable[[str], object], path: str) -> None:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            if key in REFERENCES and isinstance(inner, str):
                _check_reference(inner, lookup, f"{path}.{key}")
            _check_references(inner, lookup, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            _check_references(inner, lookup, f"{path}[{index}]")


def _check_patterns(value: object, path: str) -> None:
    """Refuse patterns that cannot be read."""
    if isinstance(value, dict):
        for key, inner in cast("dict[str, object]", value).items():
            if not path.endswith(".properties"):
                _check_readable(_patterns_at(key, inner), f"{path}.{key}")
            _check_patterns(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            _check_patterns(inner, f"{path}[{index}]")


def _patterns_at(key: str, value: object) -> Iterable[str]:
    """Return the patterns that stand under a keyword."""
    if key == "pattern" and isinstance(value, str):
        return (value,)
    return cast("dict[str, object]", value) if key == "patternProperties" and isinstance(value, dict) else ()


def _check_readable(patterns: Iterable[str], path: str) -> None:
    for pattern in patterns:
        if (why := unreadable(pattern)) is not None:
            raise SchemaError(f"{_shortened(repr(pattern))} is no regular expression: {why}.", path=path)


def _check_unevaluated(schema: Mapping[str, object]) -> None:
    """Refuse what would search for patterns without an end, wherever it hides."""
    if set(UNBOUNDED_TOGETHER) <= set(_keys(schema)):
        together = " and ".join(f"`{name}`" for name in UNBOUNDED_TOGETHER)
        raise SchemaError(f"{together} are not supported together. Use `additionalProperties`.")


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        inner = cast("dict[str, object]", value)
        yield from inner
        value = list(inner.values())
    if isinstance(value, list):
        for each in cast("list[object]", value):
            yield from _keys(each)


def _check_reference(reference: str, lookup: Callable[[str], object], path: str) -> None:
    try:
        if reference.startswith("#"):
            lookup(reference)
            return
    except _unresolvable():
        pass
    raise SchemaError(
        f'{_shortened(reference)!r} leads nowhere. References point within the schema, as in "#/$defs/address".',
        path=path,
    )


def _unresolvable() -> type[Exception]:
    return cast("type[Exception]", importlib.import_module("referencing.exceptions").Unresolvable)


def _problems(validator: Validator, arguments: object) -> Iterator[str]:
    for problem in validator.iter_errors(arguments):
        path = _path(problem.absolute_path)
        yield f"{path.lstrip('.')}: {_shortened(problem.message)}" if path else _shortened(problem.message)


def _path(steps: Iterable[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_PROBLEM else f"{text[:LONGEST_PROBLEM]}..."


def _refused(name: str, why: str) -> str:
    return f"The arguments of {name} do not fit its parameters: {why}. Call it again with arguments that fit."
