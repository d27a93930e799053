"""What a message of type `activity` records: a function that was called, or answered, or a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from turnwise.server.errors import BadRequest
from turnwise.types._base import OMIT, Omit
from turnwise.types.message import TextMessage

__all__ = ["Activity", "ActivityFunction", "ActivityKind", "activity_message", "check_activity", "stored_arguments"]

ActivityKind = Literal["request", "response", "trigger"]


class ActivityFunction(msgspec.Struct, frozen=True):
    """The function it is about. Requests and responses pair by name and arguments, in order."""

    name: Annotated[str, Meta(min_length=1)]
    arguments: dict[str, object] | str | None | UnsetType = UNSET
    result: object = UNSET


class Activity(msgspec.Struct, frozen=True):
    """The value of `meta.activity`."""

    type: ActivityKind
    function: ActivityFunction


def check_activity(kind: str, meta: Mapping[str, object] | None | Omit, path: str) -> None:
    """Refuse a message of type `activity` that does not say which."""
    if kind != "activity":
        return
    value = meta.get("activity") if isinstance(meta, Mapping) else None
    if value is None:
        raise BadRequest(f"{path}.meta.activity: a message of type `activity` needs it: {{type, function}}.")
    try:
        activity = msgspec.convert(value, Activity)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{path}.meta.activity: {error} (`$` is the activity).") from None
    function = activity.function
    if isinstance(function.arguments, str) and not _is_json(function.arguments):
        raise BadRequest(f"{path}.meta.activity.function.arguments: expected an object, or a string of JSON.")
    if function.result is not UNSET and activity.type != "response":
        raise BadRequest(f"{path}.meta.activity.function.result: only a `response` has a result.")


def activity_message(
    kind: ActivityKind, name: str, arguments: dict[str, object] | str, result: object | Omit = OMIT
) -> TextMessage:
    """Return the message that records a call, or (with a result) its answer; for events and for storage alike."""
    function: dict[str, object] = {"name": name, "arguments": arguments}
    if result is not OMIT:
        function["result"] = result
    return TextMessage(type="activity", text="", meta={"activity": {"type": kind, "function": function}})


def stored_arguments(text: str) -> dict[str, object] | str:
    """Return a model's arguments as an activity records them: the object, or JSON of the text where it is none.

    Nothing, and `null`, are no arguments.
    """
    try:
        arguments: object = msgspec.json.decode(text) if text.strip() else None
    except (msgspec.DecodeError, RecursionError):
        arguments = text
    if arguments is None or isinstance(arguments, dict):
        return cast("dict[str, object]", arguments or {})
    return msgspec.json.encode(text).decode()


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
