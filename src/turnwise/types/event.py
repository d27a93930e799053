"""The events of a stream: `{"type", "data"}`, one a line.

Each operation streams a union of its own, because `result` carries what the operation answers. A type that is not
declared here becomes an `UnknownEvent`, never an error.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import field

from turnwise.types._base import Milliseconds, Result
from turnwise.types.conversation import (
    CompleteEnd,
    CompleteResult,
    Conversation,
    ReceiveResult,
    SendResult,
    StatelessCompleteResult,
)
from turnwise.types.error import ErrorBody
from turnwise.types.message import Entity, Message, TextMessage
from turnwise.types.usage import ModelUsage, Usage

__all__ = [
    "Abort",
    "AbortEvent",
    "AnyEvent",
    "Attempt",
    "AttemptEvent",
    "ChannelEvent",
    "ChannelMessageEvent",
    "CompleteBeginEvent",
    "CompleteEndEvent",
    "CompleteEvent",
    "Empty",
    "ErrorEvent",
    "Event",
    "ItemEvent",
    "MessageEvent",
    "NopEvent",
    "PingEvent",
    "ReasoningTokenEvent",
    "ReceiveEvent",
    "ReceiveResultEvent",
    "ReceivedMessage",
    "ResultEvent",
    "SendEvent",
    "SendResultEvent",
    "SentMessage",
    "StatelessCompleteEvent",
    "Token",
    "TokenEvent",
    "UnknownEvent",
    "UsageEvent",
    "WaitForChannelMessage",
    "WaitForChannelMessageBeginEvent",
    "WaitForChannelMessageEndEvent",
]

T = TypeVar("T")


class Empty(Result, frozen=True, kw_only=True):
    """Data of an event that says nothing but its type."""


class Token(Result, frozen=True, kw_only=True, omit_defaults=False):
    """A piece of text, as the model made it."""

    token: str


class SentMessage(Result, frozen=True, kw_only=True):
    """The user's message of a completion: stored under `id` when stateful."""

    text: str = ""
    id: str | None = None
    entities: list[Entity] | None = None
    usage: Usage | None = None


class ReceivedMessage(Result, frozen=True, kw_only=True):
    """The bot's reply of a completion: stored under `id` when stateful."""

    text: str
    id: str | None = None
    usage: Usage | None = None
    end: CompleteEnd | None = None


class Abort(Result, frozen=True, kw_only=True):
    """Why a completion was aborted, and by which function."""

    reason: object = None
    function_name: str | None = None


class WaitForChannelMessage(Result, frozen=True, kw_only=True):
    """A function whose result the server waits for, on a channel."""

    channel: str = ""
    function: dict[str, object] | None = None
    message: object = None
    id: str | None = None


class Attempt(Result, frozen=True, kw_only=True, omit_defaults=False):
    """Which attempt at a dispatched turn goes on; not told where none before it had told anything."""

    attempt: int = 0


class Event(Result, frozen=True, kw_only=True):
    """What all events have."""

    created_at: Milliseconds | None = None
    seq: int | None = None


class KnownEvent(Event, frozen=True, kw_only=True):
    """An event of a declared type."""

    @property
    def type(self) -> str:
        """The event's type, by its wire name."""
        return str(self.__struct_config__.tag)


class SendResultEvent(KnownEvent, frozen=True, kw_only=True, tag="sendResult"):
    """The user's message was taken."""

    data: SentMessage = field(default_factory=SentMessage)


class CompleteBeginEvent(KnownEvent, frozen=True, kw_only=True, tag="completeBegin"):
    """The bot begins to work."""

    data: Empty = field(default_factory=Empty)


class TokenEvent(KnownEvent, frozen=True, kw_only=True, tag="token"):
    """A piece of the reply."""

    data: Token


class ReasoningTokenEvent(KnownEvent, frozen=True, kw_only=True, tag="reasoningToken"):
    """A piece of the model's reasoning; not part of the reply."""

    data: Token


class MessageEvent(KnownEvent, frozen=True, kw_only=True, tag="message"):
    """A finished message: `bot`, `reasoning`, `activity`."""

    data: TextMessage


class WaitForChannelMessageBeginEvent(KnownEvent, frozen=True, kw_only=True, tag="waitForChannelMessageBegin"):
    """The server waits for a function's result on a channel."""

    data: WaitForChannelMessage


class WaitForChannelMessageEndEvent(KnownEvent, frozen=True, kw_only=True, tag="waitForChannelMessageEnd"):
    """A function's result arrived."""

    data: WaitForChannelMessage


class UsageEvent(KnownEvent, frozen=True, kw_only=True, tag="usage"):
    """What one model turn used."""

    data: ModelUsage


class CompleteEndEvent(KnownEvent, frozen=True, kw_only=True, tag="completeEnd"):
    """The bot's work ended."""

    data: Empty = field(default_factory=Empty)


class ReceiveResultEvent(KnownEvent, frozen=True, kw_only=True, tag="receiveResult"):
    """The bot's reply was stored."""

    data: ReceivedMessage


class AbortEvent(KnownEvent, frozen=True, kw_only=True, tag="abort"):
    """The completion was aborted."""

    data: Abort = field(default_factory=Abort)


class AttemptEvent(KnownEvent, frozen=True, kw_only=True, tag="attempt"):
    """A server took a dispatched turn over from one that died: the tokens since the last message count no more."""

    data: Attempt = field(default_factory=Attempt)


class ErrorEvent(KnownEvent, frozen=True, kw_only=True, tag="error"):
    """The operation failed after its stream had begun; nothing follows."""

    data: ErrorBody


class PingEvent(KnownEvent, frozen=True, kw_only=True, tag="ping"):
    """Keeps a quiet line alive."""

    data: Empty = field(default_factory=Empty)


class NopEvent(KnownEvent, frozen=True, kw_only=True, tag="nop"):
    """Says only that the server is there."""

    data: Empty = field(default_factory=Empty)


class ResultEvent(KnownEvent, Generic[T], frozen=True, kw_only=True, tag="result"):
    """The operation's result; the last event."""

    data: T


class ItemEvent(KnownEvent, Generic[T], frozen=True, kw_only=True, tag="item"):
    """An item of a list."""

    data: T


class ChannelMessageEvent(KnownEvent, frozen=True, kw_only=True, tag="message"):
    """A message that was published on a channel; `seq` numbers a channel's messages where the server does."""

    data: object


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event of a type this version of Turnwise does not know; everything it brought is in `data` and `extra`."""

    type: str
    data: object = None


CommonEvent = (
    SendResultEvent
    | CompleteBeginEvent
    | TokenEvent
    | ReasoningTokenEvent
    | MessageEvent
    | WaitForChannelMessageBeginEvent
    | WaitForChannelMessageEndEvent
    | UsageEvent
    | CompleteEndEvent
    | ReceiveResultEvent
    | AbortEvent
    | AttemptEvent
    | ErrorEvent
    | PingEvent
    | NopEvent
)
CompleteEvent = CommonEvent | ResultEvent[CompleteResult]
StatelessCompleteEvent = CommonEvent | ResultEvent[StatelessCompleteResult]
ReceiveEvent = CommonEvent | ResultEvent[ReceiveResult]
SendEvent = CommonEvent | ResultEvent[SendResult]
ConversationItemEvent = ItemEvent[Conversation] | ErrorEvent | PingEvent | NopEvent
MessageItemEvent = ItemEvent[Message] | ErrorEvent | PingEvent | NopEvent
ChannelEvent = ChannelMessageEvent | ErrorEvent | PingEvent | NopEvent
AnyEvent = CommonEvent | ResultEvent[object] | ItemEvent[object]
"""The events of an operation that has no union of its own here."""
