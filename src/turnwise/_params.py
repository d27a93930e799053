"""What requests may be made of: our own types, what answers and events brought, or mappings in the wire's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar, cast, overload

from turnwise.types._base import OMIT, Omit
from turnwise.types.conversation import AttachmentReference, ContactInput
from turnwise.types.extension import Extensions, Limits
from turnwise.types.function import FunctionDefinition
from turnwise.types.message import Entity, Message, MessageInput, TextMessage
from turnwise.types.model import Model

__all__ = [
    "AttachmentParam",
    "ContactParam",
    "EntityParam",
    "ExtensionsParam",
    "FunctionParam",
    "IdsParam",
    "LimitsParam",
    "MessageParam",
    "MetaParam",
    "ModelParam",
    "MomentParam",
    "joined",
    "message_inputs",
    "model_text",
    "moment_text",
    "one",
    "some",
]

T = TypeVar("T")

Json = Mapping[str, object]

MessageParam = MessageInput | TextMessage | Message | Json
"""A message: made for the request, taken from an event or an answer, or a mapping `{"type", "text", "meta"}`."""
EntityParam = Entity | Json
FunctionParam = FunctionDefinition | Json
ExtensionsParam = Extensions | Json
LimitsParam = Limits | Json
AttachmentParam = AttachmentReference | Json
ContactParam = str | ContactInput | Json
ModelParam = str | Model | Json
"""A model's name, with or without its settings; a mapping is `{"name", "config"}`."""
MetaParam = Mapping[str, object]
IdsParam = str | Sequence[str]
"""One id, or several of which any may match."""
MomentParam = datetime | str
"""A moment: a datetime, which without a zone is local time, or ISO 8601 text, which travels as it is."""


def one(value: T | Json | None | Omit) -> T | None | Omit:
    """Let a mapping stand for the struct it describes."""
    return cast("T | None | Omit", dict(cast("Json", value)) if isinstance(value, Mapping) else value)


def some(values: Sequence[T | Json] | None | Omit) -> list[T] | None | Omit:
    """Let mappings stand for the structs they describe."""
    return values if values is None or values is OMIT else [cast("T", one(each)) for each in values]


@overload
def message_inputs(values: Sequence[MessageParam]) -> list[MessageInput]: ...
@overload
def message_inputs(values: Sequence[MessageParam] | None | Omit) -> list[MessageInput] | None | Omit: ...
def message_inputs(values: Sequence[MessageParam] | None | Omit) -> list[MessageInput] | None | Omit:
    """Let mappings and the messages of events and answers stand for messages to send."""
    return values if values is None or values is OMIT else [_message_input(each) for each in values]


def _message_input(value: MessageParam) -> MessageInput:
    # An id and times are the stored message's own; an unknown type travels, for the server may know it.
    if isinstance(value, Message):
        value = TextMessage(type=value.type, text=value.text, meta=value.meta)
    return cast("MessageInput", one(value))


def model_text(value: ModelParam | None | Omit) -> str | None | Omit:
    """Return a model as it travels: `name/key=value`.

    Raises:
        TypeError: A mapping has no `name`, or its `config` is no mapping.
    """
    if isinstance(value, Model):
        return str(value)
    if not isinstance(value, Mapping):
        return value
    name, config = value.get("name"), value.get("config")
    if not isinstance(name, str) or not isinstance(config, Mapping | None):
        raise TypeError('a model given as a mapping is {"name": "...", "config": {...}}')
    return str(Model(name, cast("Json | None", config)))


def moment_text(value: MomentParam | None | Omit) -> str | None | Omit:
    """Return a moment as ISO 8601 in UTC, to the millisecond, as JavaScript's dates write it."""
    if not isinstance(value, datetime):
        return value
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def joined(value: IdsParam | None | Omit) -> str | None | Omit:
    """Return ids as a query holds them: separated by commas."""
    return ",".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
