"""What an endpoint function takes, read from its code once.

It serves to say clearly what does not fit, to map the wire's camelCase to keywords, and to show the signature to
`help()` and to editors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import FunctionType
from typing import TypeVar, cast

from turnwise._call import CallOptions, Exchange
from turnwise.types._base import OMIT

__all__ = ["OPTIONS", "Shape", "camel", "merged", "nearest", "shows"]

F = TypeVar("F", bound=Callable[..., object])

OPTIONS = frozenset(CallOptions.__annotations__)


class Shape:
    """The arguments of one endpoint: ids by position, an optional cursor, keywords, and the options of every call."""

    def __init__(self, endpoint: Callable[..., Exchange]) -> None:
        code = cast("FunctionType", endpoint).__code__
        names = code.co_varnames
        self.endpoint = endpoint
        self.ids = names[: code.co_posonlyargcount]
        self.movable = names[code.co_posonlyargcount : code.co_argcount]
        """What may come by position or by name; each has a default."""
        self.keywords = names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        defaults = cast("FunctionType", endpoint).__kwdefaults__ or {}
        self.required = frozenset(self.keywords) - defaults.keys()
        self.known = OPTIONS.union(self.movable, self.keywords)

    def fits(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
        """Tell whether the endpoint can be called with these arguments."""
        given = len(args) - len(self.ids)
        return (
            0 <= given <= len(self.movable)
            and kwargs.keys() <= self.known
            and self.required <= kwargs.keys()
            and (given == 0 or kwargs.keys().isdisjoint(self.movable[:given]))
        )

    def misfit(self, name: str, args: tuple[object, ...], kwargs: Mapping[str, object], *, ported: bool) -> TypeError:
        """Say what does not fit. `ported` tells that a mapping in the wire's names was given."""
        if len(args) < len(self.ids):
            return TypeError(f"{name}() is missing {self.ids[len(args)]!r}, which it takes by position")
        if len(args) > len(self.ids) + len(self.movable):
            taken = " and ".join((*self.ids, *self.movable)) or "nothing but a mapping"
            return TypeError(f"{name}() takes {taken} by position, and all else by name")
        twice = [each for each in self.movable[: len(args) - len(self.ids)] if each in kwargs]
        if twice:
            return TypeError(f"{name}() got {twice[0]!r} by position and by name")
        unknown = [each for each in kwargs if each not in self.known]
        if unknown:
            return TypeError(f"{name}() got an unexpected keyword argument {unknown[0]!r}{self._hint(unknown[0])}")
        missing = next(each for each in self.keywords if each in self.required and each not in kwargs)
        if ported:
            return TypeError(f"{name}() is missing {camel(missing)!r} in the mapping it got")
        return TypeError(f"{name}() is missing the keyword argument {missing!r}")

    def ported(self, name: str, request: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
        """Split a mapping in the wire's names into keywords and what is not known, which travels as it is."""
        keywords: dict[str, object] = {}
        unknown: dict[str, object] = {}
        for key, value in request.items():
            known = self._wire_names.get(key)
            if known is not None:
                keywords[known] = value
            elif key in self.known:
                place = f"written {camel(key)!r} there" if key not in OPTIONS else "a keyword argument beside it"
                raise TypeError(f"{name}() takes a mapping in the wire's own names; {key!r} is {place}")
            elif value is not OMIT:
                unknown[key] = value
        return keywords, unknown

    def signature(self, *, awaited: bool, streamed: bool) -> inspect.Signature:
        """Return the endpoint's signature as a method has it, with the options of every call spelled out."""
        signature = _spelled(inspect.signature(self.endpoint), CallOptions)
        myself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        answer = _answer(str(signature.return_annotation), awaited=awaited, streamed=streamed)
        return signature.replace(parameters=[myself, *signature.parameters.values()], return_annotation=answer)

    @cached_property
    def _wire_names(self) -> dict[str, str]:
        return {camel(each): each for each in (*self.movable, *self.keywords)}

    def _hint(self, unknown: str) -> str:
        if unknown in self.ids:
            return "; it goes by position"
        return nearest(unknown, [*self.movable, *self.keywords, *sorted(OPTIONS)])


def nearest(unknown: str, known: Sequence[str]) -> str:
    """Return what to add to a complaint about a keyword: the one that was probably meant, or all there are."""
    from difflib import get_close_matches

    near = get_close_matches(_snake(unknown), known, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


def shows(options: type) -> Callable[[F], F]:
    """Let the signature of a function spell out the keywords that it takes as `**options`."""

    def spell(function: F) -> F:
        vars(function)["__signature__"] = _spelled(inspect.signature(function), options)
        return function

    return spell


def _spelled(signature: inspect.Signature, options: type) -> inspect.Signature:
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    spelled = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=OMIT, annotation=annotation.__forward_arg__)
        for name, annotation in options.__annotations__.items()
    ]
    return signature.replace(parameters=[*own, *spelled])


def merged(signatures: list[inspect.Signature]) -> inspect.Signature:
    """Return one signature for a method of several forms: what only some forms take is optional."""
    everywhere = set[str].intersection(*(set(each.parameters) for each in signatures))
    parameters: dict[str, inspect.Parameter] = {}
    for each in [parameter for signature in signatures for parameter in signature.parameters.values()]:
        optional = each.name not in everywhere and each.default is each.empty
        former = parameters.get(each.name, each)
        annotation = (
            each.annotation if former.annotation == each.annotation else f"{each.annotation} | {former.annotation}"
        )
        parameters[each.name] = each.replace(annotation=annotation, default=OMIT if optional else each.default)
    answers = dict.fromkeys(str(each.return_annotation) for each in signatures)
    ordered = sorted(parameters.values(), key=lambda each: (each.kind, each.name in OPTIONS))
    return inspect.Signature(ordered, return_annotation=" | ".join(answers))


def _answer(annotation: str, *, awaited: bool, streamed: bool) -> str:
    """Return what a method answers whose endpoint returns `StreamableCall[Result, Events]` and the like."""
    kind, _, inner = annotation.removesuffix("]").partition("[")
    result, _, events = inner.partition(", ")
    prefix = "Async" if awaited else ""
    if kind == "StreamCall":
        return f"{prefix}Stream[{inner}]"
    if kind == "DispatchCall":
        if streamed:
            return f"{prefix}ResumableStream[{events}, {result}]"
        result = "DispatchResult"
    if streamed:
        return f"{prefix}Stream[{events}, {'None' if 'Pages' in kind else result}]"
    if "Pages" in kind:
        return f"{prefix}Page[{result}]"
    return f"Awaitable[{result}]" if awaited else result


def camel(name: str) -> str:
    """Return a Python name as the wire writes it: `bot_id` is `botId`, `from_` is `from`."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(each.capitalize() for each in rest)


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
