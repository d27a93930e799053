"""What a turn reads before the model is asked, and what it leaves behind at each step: the port of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from turnwise.server.errors import Conflict, DomainError
from turnwise.server.models.base import FunctionCall
from turnwise.server.services.functions import FunctionSet
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.limits import Ceilings
from turnwise.server.services.progress import Progress
from turnwise.server.services.reply import Interruption
from turnwise.server.services.turn import Turn
from turnwise.server.storage.base import Once, UsedTokens
from turnwise.server.storage.journal import Place
from turnwise.types.conversation import CompleteEnd, CompleteResult, StatelessCompleteResult
from turnwise.types.error import ErrorBody
from turnwise.types.event import (
    Abort,
    AbortEvent,
    ErrorEvent,
    Event,
    ReceivedMessage,
    ReceiveResultEvent,
    ResultEvent,
    SendResultEvent,
    SentMessage,
)
from turnwise.types.message import Message, MessageInput, TextMessage
from turnwise.types.usage import Usage

__all__ = [
    "Asked",
    "Begun",
    "Ended",
    "Replayed",
    "Step",
    "TurnExchange",
    "answered",
    "decode_answer",
    "failed",
    "results",
    "sent",
    "withdrawn",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks of the engine."""

    account_id: str
    conversation_id: str | None
    turn_id: str
    backstory: str | None = None
    """Added by this request alone."""
    functions: FunctionSet = field(default_factory=FunctionSet)
    limits: Ceilings = field(default_factory=Ceilings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What the model is to be asked, how far the turn is, and the events that say so."""

    model: str | None
    backstory: str | None
    history: Sequence[Message | MessageInput | TextMessage]
    events: Sequence[Event]
    """To be told before the model is asked; a dispatched turn has told them already."""
    progress: Progress


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request was answered before, with these events."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Finished messages, in order, and what making them used."""

    messages: Sequence[TextMessage]
    used: Sequence[UsedTokens] = ()
    events: Sequence[Event] = ()
    """What tells of them, once they are stored."""
    pending: Sequence[FunctionCall] = ()
    """Calls among them that are yet to be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a turn ended."""

    end: CompleteEnd
    text: str
    usage: Usage
    told: Sequence[Event]
    """What was told before, with the tokens of each message in one: for a repeat of the request."""


class TurnExchange(Protocol):
    """One exchange with a bot, without the model."""

    asked: Asked

    @property
    def place(self) -> Place | None:
        """Under which name the turn writes to the journal; `None` where it has no row."""
        ...

    async def begin(self, turn: Turn) -> Begun | Replayed:
        """Wait until it is this exchange's turn, store what was said and read what the model is to see."""
        ...

    async def withdraw(self, turn: Turn, failure: DomainError | None = None) -> None:
        """Store that the turn was broken off while it began, or what its failure was, if it has not ended yet."""
        ...

    async def step(self, turn: Turn, step: Step, progress: Progress) -> None:
        """Store finished messages in the middle of a turn, then tell of them."""
        ...

    async def end(self, turn: Turn, step: Step, ended: Ended, progress: Progress) -> Sequence[Event]:
        """Store the last messages and that the turn ended; return the events that tell of it, held back still."""
        ...

    async def interrupt(
        self, turn: Turn, step: Step, interruption: Interruption, ended: Ended | None, progress: Progress
    ) -> Sequence[Event]:
        """Store what was said before the turn was broken off, and that it was.

        With `ended` the turn has a result all the same. Returns the events that tell of it.
        """
        ...


def sent(moment: int, text: str, message_id: str | None) -> SendResultEvent:
    """Return the event that tells of the user's message."""
    data = SentMessage(id=message_id, text=text, entities=[], usage=Usage(token=0))
    return SendResultEvent(data=data, created_at=moment)


def answered(keyed: KeyedRequest | None, events: Sequence[Event]) -> Once | None:
    """Return what is to be remembered of a request that was answered with these events."""
    return keyed.once(msgspec.json.encode(events)) if keyed is not None else None


def decode_answer(answer: bytes, events: object) -> list[Event]:
    """Read what was remembered, events of the union `events`."""
    decoded: list[Event] = msgspec.json.decode(answer, type=list[events])  # type: ignore[valid-type]
    return decoded


def withdrawn(moment: int, turn: Turn, failure: DomainError | None, message_id: str | None) -> list[Event]:
    """Return what tells of a turn that was aborted while it began or waited, or what its failure was.

    One that was cancelled has a result, which names `message_id` (a stateless one's names none).
    """
    if failure is not None:
        return [failed(moment, failure)]
    told: Event = AbortEvent(data=Abort(reason=turn.abort_reason), created_at=moment)
    if turn.cancelled:
        return [told, *results(moment, message_id, "", Usage(token=0), CompleteEnd(reason="abort"))]
    aborted = turn.abort_failure or Conflict(
        f"The turn was broken off: {turn.abort_reason}. To have it after all, dispatch it again on another channel."
    )
    return [told, failed(moment, aborted)]


def results(moment: int, message_id: str | None, text: str, usage: Usage, end: CompleteEnd) -> list[Event]:
    """Return what tells of a completion's result; one of which nothing is stored names no message."""
    if message_id is None:
        received = ReceivedMessage(text=text, usage=usage, end=end)
        stateless = StatelessCompleteResult(text=text, usage=usage, end=end)
        return [ReceiveResultEvent(data=received, created_at=moment), ResultEvent(data=stateless, created_at=moment)]
    received = ReceivedMessage(id=message_id, text=text, usage=usage, end=end)
    result = CompleteResult(id=message_id, text=text, usage=usage, end=end)
    return [ReceiveResultEvent(data=received, created_at=moment), ResultEvent(data=result, created_at=moment)]


def failed(moment: int, failure: DomainError) -> ErrorEvent:
    """Return the event that tells of a failure; nothing follows it."""
    return ErrorEvent(data=ErrorBody(message=failure.message, code=failure.code), created_at=moment)
