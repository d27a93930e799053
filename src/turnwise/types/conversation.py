"""Conversations, and what is asked of them."""

from __future__ import annotations

from typing import Literal

from turnwise.types._base import OMIT, Milliseconds, Omit, Request, Result
from turnwise.types.extension import Extensions, Limits
from turnwise.types.function import FunctionDefinition
from turnwise.types.message import Entity, MessageInput, TextMessage
from turnwise.types.usage import Usage

__all__ = [
    "AttachmentReference",
    "CompleteEnd",
    "CompleteReason",
    "CompleteResult",
    "ContactInput",
    "Conversation",
    "ConversationCompleteRequest",
    "ConversationCompleteStatelessRequest",
    "ConversationCreateRequest",
    "ConversationCreateResult",
    "ConversationDispatchRequest",
    "ConversationDispatchStatelessRequest",
    "ConversationId",
    "ConversationReceiveRequest",
    "ConversationSendRequest",
    "ConversationUpdateRequest",
    "DispatchResult",
    "EmptyRequest",
    "Order",
    "ReceiveResult",
    "SendResult",
    "StatelessCompleteResult",
]

CompleteReason = Literal["stop", "length", "activity", "abort", "error", "iteration"]
"""Why a completion ended."""

Order = Literal["asc", "desc"]
"""The order of a list, by creation."""


class Conversation(Result, frozen=True, kw_only=True):
    """A stored conversation."""

    id: str
    created_at: Milliseconds
    updated_at: Milliseconds
    name: str | None = None
    description: str | None = None
    meta: dict[str, object] | None = None
    bot_id: str | None = None
    model: str | None = None
    backstory: str | None = None
    dataset_id: str | None = None
    skillset_id: str | None = None
    privacy: bool | None = None
    moderation: bool | None = None
    contact_id: str | None = None
    task_id: str | None = None
    space_id: str | None = None
    expires_at: Milliseconds | None = None


class BotFields(Request, frozen=True, kw_only=True):
    """A bot by reference (`bot_id`) or by configuration."""

    bot_id: str | None | Omit = OMIT
    model: str | None | Omit = OMIT
    backstory: str | None | Omit = OMIT
    dataset_id: str | None | Omit = OMIT
    skillset_id: str | None | Omit = OMIT
    privacy: bool | None | Omit = OMIT
    moderation: bool | None | Omit = OMIT


class ConversationFields(BotFields, frozen=True, kw_only=True):
    """What `create` and `update` both take."""

    name: str | None | Omit = OMIT
    description: str | None | Omit = OMIT
    meta: dict[str, object] | None | Omit = OMIT
    contact_id: str | None | Omit = OMIT
    task_id: str | None | Omit = OMIT
    space_id: str | None | Omit = OMIT
    expires_at: Milliseconds | None | Omit = OMIT
    """The conversation is deleted after this moment; `None` clears it."""


class ConversationCreateRequest(ConversationFields, frozen=True, kw_only=True):
    """The body of `create`."""

    messages: list[MessageInput] | None | Omit = OMIT


class ConversationUpdateRequest(ConversationFields, frozen=True, kw_only=True):
    """The body of `update`: what is given changes, `meta` is merged key by key."""


class ConversationCreateResult(Result, frozen=True, kw_only=True):
    """The id of the new conversation, and the messages it began with."""

    id: str
    messages: list[TextMessage] | None = None


class ConversationId(Result, frozen=True, kw_only=True):
    """The id of the conversation that was changed, deleted or voted on."""

    id: str


class EmptyRequest(Request, frozen=True, kw_only=True):
    """The body of an operation that needs none, such as `delete`."""


class ExchangeFields(Request, frozen=True, kw_only=True):
    """What every exchange with a bot takes."""

    functions: list[FunctionDefinition] | None | Omit = OMIT
    extensions: Extensions | None | Omit = OMIT


class ConversationSendRequest(ExchangeFields, frozen=True, kw_only=True):
    """The body of `send`."""

    text: str
    entities: list[Entity] | None | Omit = OMIT


class ConversationReceiveRequest(ExchangeFields, frozen=True, kw_only=True):
    """The body of `receive`."""

    limits: Limits | None | Omit = OMIT


class ConversationCompleteRequest(ExchangeFields, frozen=True, kw_only=True):
    """The body of a stateful `complete`."""

    text: str | None | Omit = OMIT
    entities: list[Entity] | None | Omit = OMIT
    limits: Limits | None | Omit = OMIT


class ConversationDispatchRequest(ConversationCompleteRequest, frozen=True, kw_only=True):
    """The body of a stateful `dispatch`."""

    channel_id: str | None | Omit = OMIT


class AttachmentReference(Request, frozen=True, kw_only=True):
    """A file for a stateless completion."""

    url: str | Omit = OMIT


class ContactInput(Request, frozen=True, kw_only=True):
    """A contact described in place."""

    fingerprint: str
    name: str | None | Omit = OMIT
    description: str | None | Omit = OMIT
    email: str | None | Omit = OMIT
    phone: str | None | Omit = OMIT
    nick: str | None | Omit = OMIT
    meta: dict[str, object] | None | Omit = OMIT


class ConversationCompleteStatelessRequest(BotFields, frozen=True, kw_only=True):
    """The body of a stateless `complete`."""

    messages: list[MessageInput]
    attachments: list[AttachmentReference] | None | Omit = OMIT
    contact_id: str | ContactInput | None | Omit = OMIT
    functions: list[FunctionDefinition] | None | Omit = OMIT
    extensions: Extensions | None | Omit = OMIT
    limits: Limits | None | Omit = OMIT


class ConversationDispatchStatelessRequest(ConversationCompleteStatelessRequest, frozen=True, kw_only=True):
    """The body of a stateless `dispatch`."""

    channel_id: str | None | Omit = OMIT


class CompleteEnd(Result, frozen=True, kw_only=True):
    """How a completion ended."""

    reason: CompleteReason | str


class SendResult(Result, frozen=True, kw_only=True, omit_defaults=False):
    """The id of the stored message, and the entities found in its text."""

    id: str
    entities: list[Entity] = []


class ReceiveResult(Result, frozen=True, kw_only=True):
    """The bot's stored reply."""

    id: str
    text: str
    usage: Usage
    end: CompleteEnd | None = None
    """How the reply ended; Turnwise's server tells, the hosted service leaves it out."""


class CompleteResult(Result, frozen=True, kw_only=True):
    """The bot's stored reply to a stateful completion."""

    id: str
    text: str
    usage: Usage
    end: CompleteEnd


class StatelessCompleteResult(Result, frozen=True, kw_only=True):
    """The bot's reply to a stateless completion; nothing is stored."""

    text: str
    usage: Usage
    end: CompleteEnd


class DispatchResult(Result, frozen=True, kw_only=True):
    """The channel on which a dispatched completion's events are published."""

    channel_id: str
    ended_at: Milliseconds | None = None
    """When it ended, where it had been dispatched before; its events are kept for an hour from then."""
