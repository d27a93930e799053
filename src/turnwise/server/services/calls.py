"""The functions that were called in a conversation, as a model is shown them.

A conversation records calls as messages of type `activity`, without ids; a model server wants every call answered,
right behind the reply that made it, under an id. So requests and responses are paired here, by name and arguments, in
order, and none is left alone:

- A response goes behind its request, wherever it was stored, unless the user spoke and the bot went on in between.
  Then the model has seen the request unanswered, and the response stays in its own place, as the next case has it.
- A response without a request is shown as a call that was made and answered there.
- A request without a response is answered with an error that says so.
- Triggers, and activities that cannot be read, are not shown.

Numbers are compared as JavaScript has them: 1.0 is 1, since clients may not tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast, get_args

import msgspec

from turnwise.server.models.base import FunctionAnswer, FunctionCall, PromptMessage, call_id
from turnwise.server.services.activity import Activity, ActivityFunction
from turnwise.types.message import Message, MessageInput, MessageType, TextMessage

__all__ = ["Unit", "units_of"]

Unit = tuple[PromptMessage, ...]
"""Messages that are sent together or not at all: one of them, or a reply's text, its calls and their answers."""

SENT: Final = frozenset(get_args(MessageType)) - {"reasoning", "activity"}
"""Whose text a model is shown. Reasoning is the model's own scratch paper."""
UNANSWERED: Final = '{"error":"This call was not answered."}'
ANY: Final = b""
"""Stands for the arguments of an activity that tells none."""


def units_of(history: Sequence[Message | MessageInput | TextMessage]) -> list[Unit]:
    """Return what of a history a model may be shown, oldest first."""
    told: list[Unit] = [
        (PromptMessage(cast("MessageType", message.type), message.text),) for message in history if message.type in SENT
    ]
    if len(told) == len(history) or all(message.type != "activity" for message in history):
        return told
    pairing = _Pairing()
    for message in history:
        if message.type in SENT:
            pairing.say(PromptMessage(cast("MessageType", message.type), message.text))
        elif message.type == "activity":
            pairing.record(_read(message.meta))
    return pairing.units()


class _Call:
    """A call, answered or not."""

    def __init__(self, function: ActivityFunction) -> None:
        self.name = function.name
        self.key = _key(function) or b"{}"
        self.arguments = _text(function)
        self.result = UNANSWERED

    def answer(self, function: ActivityFunction) -> None:
        result = None if function.result is msgspec.UNSET else function.result
        self.result = msgspec.json.encode(result).decode()


class _Reply:
    """A reply of the model's that made calls."""

    def __init__(self, text: PromptMessage | None = None) -> None:
        self.text = text
        self.calls: list[_Call] = []

    def unit(self, first: int) -> Unit:
        """Return the reply as messages; its calls are numbered from `first`."""
        named = [(call_id(first + number), call) for number, call in enumerate(self.calls)]
        calls = [FunctionCall(name, call.name, call.arguments) for name, call in named]
        answers = [FunctionAnswer(name, call.name, call.result) for name, call in named]
        said = [self.text] if self.text is not None else []
        return (
            *said,
            *(PromptMessage("activity", "", call) for call in calls),
            *(PromptMessage("activity", "", answer) for answer in answers),
        )


class _Pairing:
    """Goes through a history once."""

    def __init__(self) -> None:
        self._told: list[PromptMessage | _Reply] = []
        self._reply: _Reply | None = None
        """The reply that a request which follows now belongs to."""
        self._open: list[_Call] = []
        """Requests that a response may answer."""
        self._asked = False
        """Whether the user spoke since they were made."""

    def say(self, message: PromptMessage) -> None:
        self._reply = None
        self._told.append(message)
        if message.type == "user":
            self._asked = True
        elif message.type == "bot":
            self._go_on()

    def record(self, activity: Activity | None) -> None:
        if activity is None:
            return
        match activity.type:
            case "request":
                self._go_on()
                call = _Call(activity.function)
                self._open.append(call)
                self._calling().calls.append(call)
            case "response":
                self._answered(activity.function).answer(activity.function)
                self._reply = None
            case "trigger":
                pass

    def units(self) -> list[Unit]:
        units: list[Unit] = []
        number = 0
        for told in self._told:
            if isinstance(told, PromptMessage):
                units.append((told,))
            else:
                units.append(told.unit(number))
                number += len(told.calls)
        return units

    def _go_on(self) -> None:
        """The bot goes on: what was open when the user spoke is answered no more."""
        if self._asked:
            self._open.clear()
            self._asked = False

    def _calling(self) -> _Reply:
        if self._reply is None:
            last = self._told[-1] if self._told else None
            if isinstance(last, PromptMessage) and last.type == "bot":
                self._told.pop()
                self._reply = _Reply(last)
            else:
                self._reply = _Reply()
            self._told.append(self._reply)
        return self._reply

    def _answered(self, function: ActivityFunction) -> _Call:
        """Return the call that a response answers: the first that waits for it, or one that is made up for it."""
        key = _key(function)
        for index, call in enumerate(self._open):
            if call.name == function.name and key in {ANY, call.key}:
                return self._open.pop(index)
        call = _Call(function)
        reply = _Reply()
        reply.calls.append(call)
        self._told.append(reply)
        return call


def _read(meta: object) -> Activity | None:
    try:
        return msgspec.convert(cast("Mapping[str, object]", meta)["activity"], Activity)
    except (msgspec.ValidationError, KeyError, TypeError):
        return None


def _key(function: ActivityFunction) -> bytes:
    """Return what arguments are compared by."""
    arguments: object = function.arguments
    if arguments is None or arguments is msgspec.UNSET:
        return ANY
    if isinstance(arguments, str):
        arguments = _decoded(arguments)
    try:
        return msgspec.json.encode(_normal(arguments), order="deterministic")
    except RecursionError:
        return b"deep"


def _text(function: ActivityFunction) -> str:
    """Return arguments as model servers read them: always JSON of an object."""
    arguments = function.arguments
    if isinstance(arguments, str):
        return arguments if isinstance(_decoded(arguments), dict) else "{}"
    return msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else "{}"


def _decoded(text: str) -> object:
    try:
        return cast("object", msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        return text


def _normal(value: object) -> object:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _normal(inner) for key, inner in cast("dict[str, object]", value).items()}
        case list():
            return [_normal(inner) for inner in cast("list[object]", value)]
        case _:
            return value
