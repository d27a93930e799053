"""Functions on OpenAI's wire: how they are named there, and a reply's calls put together from their pieces. No I/O.

Servers differ in how they stream a call. OpenAI tells its index, id and name once and then pieces of its arguments;
others send it whole, several in one delta, without an id, or all of them under the index 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from turnwise.server.models.base import FunctionCall, call_id

__all__ = ["CallPiece", "CallReader", "wire_name", "wire_names"]

ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
LONGEST_NAME: Final = 64


def wire_name(name: str) -> str:
    """Return a name as servers take it: letters, digits, `_` and `-`, at most 64."""
    return ODD.sub("_", name)[:LONGEST_NAME]


def wire_names(names: Iterable[str]) -> Mapping[str, str]:
    """Return what each of `names` is called on the wire, no two the same."""
    names = list(names)
    wire = {name: name for name in names if wire_name(name) == name}
    taken = set(wire)
    for name in names:
        if name not in wire:
            wire[name] = _free(wire_name(name), taken)
            taken.add(wire[name])
    return wire


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[: LONGEST_NAME - 1 - len(str(number))]}_{number}"
    return free


class FunctionPiece(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, object] | None = None
    """Text, or a piece of it; some servers send the object itself."""


class CallPiece(msgspec.Struct, gc=False):
    """An element of `tool_calls`."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None


class _Call:
    """A call in the making."""

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def goes_on_with(self, piece: CallPiece) -> bool:
        """Return whether `piece`, which has this call's index or none, belongs to it and begins no other."""
        if piece.id and self.id:
            return piece.id == self.id
        if piece.function is None or not piece.function.name or not self.name:
            return True
        arguments = "".join(self.arguments)
        if piece.function.name == self.name and (not arguments or piece.function.arguments in (None, "")):
            return True
        return bool(arguments) and not _is_whole(arguments)

    def take(self, piece: CallPiece) -> None:
        self.id = self.id or piece.id or ""
        function = piece.function
        if function is None:
            return
        self.name = self.name or function.name or ""
        if isinstance(function.arguments, str):
            self.arguments.append(function.arguments)
        elif function.arguments is not None:
            self.arguments.append(msgspec.json.encode(function.arguments).decode())


class CallReader:
    """Puts the calls of one reply together."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, pieces: Sequence[CallPiece]) -> None:
        """Add what one delta brings."""
        for piece in pieces:
            self._call_of(piece).take(piece)

    def calls(self, names: Mapping[str, str]) -> list[FunctionCall]:
        """Return the calls in the model's order; `names` is what wire names stand for.

        An id that is missing, or was there before, is made from the call's place; empty arguments are `{}`.
        """
        calls: list[FunctionCall] = []
        seen: set[str] = set()
        for number, call in enumerate(self._calls):
            known = call.id if call.id and call.id not in seen else _unused(number, seen)
            seen.add(known)
            arguments = "".join(call.arguments).strip() or "{}"
            calls.append(FunctionCall(id=known, name=names.get(call.name, call.name), arguments=arguments))
        return calls

    def _call_of(self, piece: CallPiece) -> _Call:
        for call in reversed(self._calls):
            if piece.index is not None and call.index != piece.index:
                continue
            if call.goes_on_with(piece):
                return call
            if piece.index is None and not piece.id:
                break
        self._calls.append(_Call(piece.index))
        return self._calls[-1]


def _unused(number: int, seen: set[str]) -> str:
    while call_id(number) in seen:
        number += 1
    return call_id(number)


def _is_whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
