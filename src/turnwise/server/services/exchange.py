"""What a turn reads before the model is asked, and what it leaves behind: stored, or (stateless) only told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import msgspec

from turnwise.server.ids import Clock, NewId
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.order import TurnOrder
from turnwise.server.services.reply import Interruption, Reply
from turnwise.server.storage.base import AlreadyDone, Exchange, Once, Storage, UsedTokens
from turnwise.types.conversation import (
    CompleteEnd,
    CompleteResult,
    ConversationCompleteStatelessRequest,
    ReceiveResult,
    StatelessCompleteResult,
)
from turnwise.types.event import (
    CompleteBeginEvent,
    CompleteEvent,
    Event,
    ReceivedMessage,
    ReceiveEvent,
    ReceiveResultEvent,
    ResultEvent,
    SendResultEvent,
    SentMessage,
    StatelessCompleteEvent,
)
from turnwise.types.message import Message, MessageInput
from turnwise.types.usage import Usage

__all__ = ["Begun", "Ended", "Replayed", "StatefulExchange", "StatelessExchange", "TurnExchange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What the model is to be asked, and the events that say that it will be."""

    model: str | None
    backstory: str | None
    history: Sequence[Message | MessageInput]
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The request was answered before, with these events."""

    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the model ended, and what it used."""

    end: CompleteEnd
    usage: Usage
    used: Sequence[UsedTokens]
    events: Sequence[Event]
    """What is told before the result: finished messages, usage, the end."""


class TurnExchange(Protocol):
    """One exchange with a bot, without the model."""

    backstory: str | None
    """Added by this request alone."""

    def place(self) -> AbstractAsyncContextManager[None]:
        """Wait until it is this exchange's turn."""
        ...

    async def begin(self) -> Begun | Replayed:
        """Store what was said and read what the model is to see."""
        ...

    async def end(self, begun: Begun, reply: Reply, ended: Ended) -> Sequence[Event]:
        """Store the reply; return the events that tell the result, the last one a `result`."""
        ...

    async def interrupt(self, reply: Reply, interruption: Interruption, used: Sequence[UsedTokens]) -> None:
        """Store what was said before the reply was interrupted."""
        ...


class StatefulExchange:
    """An exchange within a stored conversation: `complete`, with a text or without, or `receive`."""

    def __init__(
        self,
        storage: Storage,
        order: TurnOrder,
        *,
        account_id: str,
        conversation_id: str,
        text: str | None,
        receives: bool,
        backstory: str | None,
        keyed: KeyedRequest | None,
        new_id: NewId,
        clock: Clock,
        wait: float,
        recent: int,
    ) -> None:
        self.backstory = backstory
        self._storage = storage
        self._order = order
        self._account_id = account_id
        self._conversation_id = conversation_id
        self._text = text
        self._receives = receives
        self._keyed = keyed
        self._new_id = new_id
        self._clock = clock
        self._wait = wait
        self._recent = recent

    def place(self) -> AbstractAsyncContextManager[None]:
        """Wait for the turns of this conversation that came before."""
        return self._order.turn_in(self._account_id, self._conversation_id, wait=self._wait)

    async def begin(self) -> Begun | Replayed:
        """Commit the user's message, or find it stored by an earlier try of the same request."""
        message = self._message()
        message_id = message.id if message is not None else None
        try:
            return await self._read(message, message_id, self._keyed.once() if self._keyed is not None else None)
        except AlreadyDone as done:
            if self._keyed is None:
                raise
            self._keyed.check(done.body)
            if done.answer is not None:
                return Replayed(_decode(done.answer, ReceiveEvent if self._receives else CompleteEvent))
            return await self._read(None, done.message_id, None)

    async def end(self, begun: Begun, reply: Reply, ended: Ended) -> Sequence[Event]:
        """Commit the reply together with the answer that a repeat of the request gets."""
        messages = reply.messages(self._new_id)
        events = [*ended.events, *self._results(messages[-1].id, reply.text, ended)]
        await self._storage.end_turn(
            self._account_id,
            self._conversation_id,
            Exchange(messages=messages, used=ended.used),
            once=_answered(self._keyed, begun, reply, events),
        )
        return events

    async def interrupt(self, reply: Reply, interruption: Interruption, used: Sequence[UsedTokens]) -> None:
        """Commit the partial reply; a repeat of the request makes a new one."""
        exchange = Exchange(messages=reply.messages(self._new_id, interruption), used=used)
        if exchange.messages or exchange.used:
            await self._storage.end_turn(self._account_id, self._conversation_id, exchange)

    def _message(self) -> Message | None:
        if self._text is None:
            return None
        moment = self._clock()
        return Message(id=self._new_id(), type="user", text=self._text, created_at=moment, updated_at=moment)

    async def _read(self, message: Message | None, message_id: str | None, once: Once | None) -> Begun:
        start = await self._storage.begin_turn(
            self._account_id, self._conversation_id, message, recent=self._recent, once=once
        )
        moment = self._clock()
        events: list[Event] = [CompleteBeginEvent(created_at=moment)]
        if self._text is not None:
            events.insert(0, _sent(moment, self._text, message_id))
        return Begun(
            model=start.conversation.model,
            backstory=start.conversation.backstory,
            history=start.history if message is not None else _unanswered(start.history, message_id),
            events=events,
        )

    def _results(self, message_id: str, text: str, ended: Ended) -> list[Event]:
        moment = self._clock()
        if self._receives:
            received = ReceiveResult(id=message_id, text=text, usage=ended.usage, end=ended.end)
            return [ResultEvent(data=received, created_at=moment)]
        told = ReceivedMessage(id=message_id, text=text, usage=ended.usage, end=ended.end)
        result = CompleteResult(id=message_id, text=text, usage=ended.usage, end=ended.end)
        return [ReceiveResultEvent(data=told, created_at=moment), ResultEvent(data=result, created_at=moment)]


class StatelessExchange:
    """An exchange of which nothing is stored but the answer to an idempotency key."""

    def __init__(
        self,
        storage: Storage,
        request: ConversationCompleteStatelessRequest,
        *,
        account_id: str,
        backstory: str | None,
        keyed: KeyedRequest | None,
        clock: Clock,
    ) -> None:
        self.backstory = backstory
        self._storage = storage
        self._request = request
        self._account_id = account_id
        self._keyed = keyed
        self._clock = clock

    def place(self) -> AbstractAsyncContextManager[None]:
        """Nothing to wait for."""
        return nullcontext()

    async def begin(self) -> Begun | Replayed:
        """Read the request, unless it was answered before."""
        if self._keyed is not None:
            done = await self._storage.find_once(self._account_id, self._keyed.path, self._keyed.key)
            if done is not None:
                self._keyed.check(done.body)
                if done.answer is not None:
                    return Replayed(_decode(done.answer, StatelessCompleteEvent))
        moment = self._clock()
        events: list[Event] = [CompleteBeginEvent(created_at=moment)]
        last = self._request.messages[-1]
        if last.type == "user":
            events.insert(0, _sent(moment, last.text, None))
        return Begun(
            model=self._request.model or None,
            backstory=self._request.backstory or None,
            history=self._request.messages,
            events=events,
        )

    async def end(self, begun: Begun, reply: Reply, ended: Ended) -> Sequence[Event]:
        """Remember the answer under the request's key."""
        moment = self._clock()
        told = ReceivedMessage(text=reply.text, usage=ended.usage, end=ended.end)
        result = StatelessCompleteResult(text=reply.text, usage=ended.usage, end=ended.end)
        events = [
            *ended.events,
            ReceiveResultEvent(data=told, created_at=moment),
            ResultEvent(data=result, created_at=moment),
        ]
        once = _answered(self._keyed, begun, reply, events)
        if once is not None:
            await self._storage.remember(self._account_id, once)
        return events

    async def interrupt(self, reply: Reply, interruption: Interruption, used: Sequence[UsedTokens]) -> None:
        """Leave nothing."""


def _sent(moment: int, text: str, message_id: str | None) -> SendResultEvent:
    data = SentMessage(id=message_id, text=text, entities=[], usage=Usage(token=0))
    return SendResultEvent(data=data, created_at=moment)


def _unanswered(history: Sequence[Message], message_id: str | None) -> Sequence[Message]:
    """Leave out what an earlier, interrupted try to answer left at the history's end."""
    end = len(history)
    while end and history[end - 1].id != message_id and (history[end - 1].meta or {}).get("interrupted") is True:
        end -= 1
    return history[:end]


def _answered(keyed: KeyedRequest | None, begun: Begun, reply: Reply, events: Sequence[Event]) -> Once | None:
    if keyed is None:
        return None
    return keyed.once(msgspec.json.encode([*begun.events, *reply.retold(), *events]))


def _decode(answer: bytes, events: object) -> list[Event]:
    decoded: list[Event] = msgspec.json.decode(answer, type=list[events])  # type: ignore[valid-type]
    return decoded
