"""Messages of a conversation, and the entities found in them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from turnwise.types._base import OMIT, Milliseconds, Omit, Request, Result

__all__ = [
    "DownvoteRequest",
    "Entity",
    "EntityReplacement",
    "Message",
    "MessageCreateRequest",
    "MessageCreateResult",
    "MessageId",
    "MessageInput",
    "MessageType",
    "MessageUpdateRequest",
    "TextMessage",
    "UpvoteRequest",
]

MessageType = Literal["user", "bot", "reasoning", "context", "instruction", "backstory", "activity", "checkpoint"]
"""Who or what a message speaks for."""


class EntityReplacement(Result, frozen=True, kw_only=True):
    """What stands in a stored text instead of an entity; offsets into the stored text."""

    begin: int
    end: int
    text: str


class Entity(Result, frozen=True, kw_only=True):
    """A piece of personal data found in a text; offsets (characters) into the text as sent."""

    type: str
    begin: int
    end: int
    text: str
    replacement: EntityReplacement | None = None


class Message(Result, frozen=True, kw_only=True):
    """A stored message."""

    id: str
    type: MessageType | str
    text: str
    created_at: Milliseconds
    updated_at: Milliseconds
    name: str | None = None
    description: str | None = None
    meta: dict[str, object] | None = None


class TextMessage(Result, frozen=True, kw_only=True):
    """A message as events and `create` carry it: without an id or times."""

    type: MessageType | str
    text: str
    meta: dict[str, object] | None = None


class MessageInput(Request, frozen=True, kw_only=True):
    """A message to begin with, or to complete from."""

    type: MessageType
    text: str
    meta: dict[str, object] | None | Omit = OMIT


class MessageCreateRequest(Request, frozen=True, kw_only=True):
    """The body of `message/create`."""

    type: MessageType
    text: str
    name: str | None | Omit = OMIT
    description: str | None | Omit = OMIT
    meta: dict[str, object] | None | Omit = OMIT
    entities: list[Entity] | None | Omit = OMIT


class MessageUpdateRequest(Request, frozen=True, kw_only=True):
    """The body of `message/update`: what is given changes, `meta` is merged key by key."""

    type: MessageType | Omit = OMIT
    text: str | Omit = OMIT
    name: str | None | Omit = OMIT
    description: str | None | Omit = OMIT
    meta: dict[str, object] | None | Omit = OMIT
    entities: list[Entity] | None | Omit = OMIT


class MessageId(Result, frozen=True, kw_only=True):
    """The id of the message that was changed, deleted or voted on."""

    id: str


class MessageCreateResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """The id of the new message, and the entities found in its text."""

    id: str
    entities: list[Entity] = []


class UpvoteRequest(Request, frozen=True, kw_only=True):
    """A vote for a conversation or a message."""

    value: Annotated[int, Meta(ge=1, le=100)] | None | Omit = OMIT
    """From 1 to 100; 100 unless given."""
    reason: str | None | Omit = OMIT


class DownvoteRequest(Request, frozen=True, kw_only=True):
    """A vote against a conversation or a message."""

    value: Annotated[int, Meta(ge=-100, le=-1)] | None | Omit = OMIT
    """From -100 to -1; -100 unless given."""
    reason: str | None | Omit = OMIT
