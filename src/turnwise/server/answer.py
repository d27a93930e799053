"""What an operation returns, and how it is told in the form the client accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from turnwise.server.encode import CsvTable, encode_events
from turnwise.server.errors import DomainError
from turnwise.server.exchange import Disconnected, HttpExchange
from turnwise.server.ids import Clock
from turnwise.server.negotiate import Form
from turnwise.server.services.turn import Turn
from turnwise.server.subscription import Subscription
from turnwise.types.conversation import Conversation
from turnwise.types.error import ErrorBody
from turnwise.types.event import (
    ErrorEvent,
    Event,
    ItemEvent,
    MessageEvent,
    PingEvent,
    ReasoningTokenEvent,
    ResultEvent,
    TokenEvent,
)
from turnwise.types.message import Message

__all__ = ["Answer", "Listing", "Renderer", "error_body"]

PAGE: Final = 100
JSON: Final = msgspec.json.Encoder()
CONTENT_TYPES: Final = {
    Form.JSONL: b"application/jsonl",
    Form.SSE: b"text/event-stream; charset=utf-8",
    Form.CSV: b"text/csv; charset=utf-8",
}


Item = Conversation | Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list: one page of it as JSON, all of it as a stream."""

    page: Callable[[str | None, int], Awaitable[Sequence[Item]]]
    """Returns up to so many items after a cursor."""
    cursor: str | None
    take: int | None
    """As asked for, at least 1; `None` where it was not."""


Answer = msgspec.Struct | Listing | Turn | Subscription


class Renderer:
    """Sends answers."""

    def __init__(self, *, clock: Clock, ping_interval: float) -> None:
        self.subscribers = 0
        """How many listen to channels."""
        self._clock = clock
        self._ping_interval = ping_interval

    async def render(self, exchange: HttpExchange, answer: Answer) -> None:
        """Send an answer in the exchange's form. What is raised before its first byte is yet to be answered."""
        if isinstance(answer, Turn):
            await self._render_turn(exchange, answer)
        elif isinstance(answer, Subscription):
            form = Form.JSONL if exchange.form is Form.JSON else exchange.form
            clock, ping_interval = self._clock, self._ping_interval
            self.subscribers += 1
            try:
                await answer.render(exchange, CONTENT_TYPES[form], clock=clock, ping_interval=ping_interval)
            finally:
                self.subscribers -= 1
        elif isinstance(answer, Listing):
            await self._render_listing(exchange, answer)
        elif exchange.form is Form.JSON:
            await exchange.answer(JSON.encode(answer))
        else:
            event = ResultEvent[msgspec.Struct](data=answer, created_at=self._clock())
            await exchange.answer(encode_events((event,), exchange.form), content_type=CONTENT_TYPES[exchange.form])

    # Lists

    async def _render_listing(self, exchange: HttpExchange, listing: Listing) -> None:
        if exchange.form is Form.JSON:
            await self._render_page(exchange, listing)
            return
        table = CsvTable()
        left = listing.take
        cursor = listing.cursor
        while True:
            size = PAGE if left is None else min(PAGE, left)
            try:
                items = await listing.page(cursor, size)
            except DomainError as error:
                if not exchange.status:
                    raise
                body = b"" if exchange.form is Form.CSV else self._failure(error, exchange.form)
                await exchange.chunk(body, more=False)
                return
            if not exchange.status:
                await exchange.begin(CONTENT_TYPES[exchange.form])
            left = None if left is None else left - len(items)
            more = len(items) == size and left != 0
            await exchange.chunk(self._rows(items, exchange.form, table), more=more)
            if not more:
                return
            cursor = items[-1].id

    def _rows(self, items: Sequence[Item], form: Form, table: CsvTable) -> bytes:
        if form is Form.CSV:
            return table.encode(items)
        moment = self._clock()
        return encode_events([ItemEvent[Item](data=item, created_at=moment) for item in items], form)

    async def _render_page(self, exchange: HttpExchange, listing: Listing) -> None:
        take = min(listing.take or PAGE, PAGE)
        items = await listing.page(listing.cursor, take + 1)
        more = len(items) > take
        items = items[:take]
        await exchange.answer(JSON.encode({"items": items, "cursor": items[-1].id if more else ""}))

    # Turns

    async def _render_turn(self, exchange: HttpExchange, turn: Turn) -> None:
        reader = Reader(turn)
        watch = asyncio.create_task(_watch(exchange, reader))
        try:
            if exchange.form is Form.JSON:
                await self._render_result(exchange, turn, reader)
            else:
                await self._render_events(exchange, turn, reader)
        finally:
            watch.cancel()
            reader.release()

    async def _render_result(self, exchange: HttpExchange, turn: Turn, reader: Reader) -> None:
        while not turn.done:
            await turn.more(len(turn.events))
        if reader.is_released():
            raise Disconnected
        if turn.failure is not None:
            raise turn.failure
        await exchange.answer(JSON.encode(turn.result))

    async def _render_events(self, exchange: HttpExchange, turn: Turn, reader: Reader) -> None:
        form = exchange.form
        seen, done = 0, False
        while not reader.is_released():
            if not await turn.more(seen, self._ping_interval):
                batch = encode_events((PingEvent(created_at=self._clock()),), form)
            else:
                if turn.failure is not None and not exchange.status and not reader.is_released() and not _spoke(turn):
                    raise turn.failure
                events: Sequence[Event] = turn.events[seen:]
                seen += len(events)
                batch = encode_events(events, form) if events else b""
                done = turn.done  # as of what the batch tells: the turn may end while it is being sent
                if done and turn.failure is not None:
                    batch += self._failure(turn.failure, form)
            if not exchange.status:
                await exchange.begin(CONTENT_TYPES[form])
            await exchange.chunk(batch, more=not done)
            if done:
                return
        raise Disconnected

    def _failure(self, error: DomainError, form: Form) -> bytes:
        return encode_events((ErrorEvent(data=error_body(error), created_at=self._clock()),), form)


def _spoke(turn: Turn) -> bool:
    """Tell whether there is anything to lose in telling only the turn's failure."""
    return any(isinstance(event, TokenEvent | ReasoningTokenEvent | MessageEvent) for event in turn.events)


class Reader:
    """Reads a turn until it is released, once."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._released = False
        turn.attach()

    def is_released(self) -> bool:
        """Tell whether nobody reads any more."""
        return self._released

    def release(self) -> None:
        """Stop reading. The last reader that stops before the end aborts the turn."""
        if not self._released:
            self._released = True
            self._turn.release()


def error_body(error: DomainError) -> ErrorBody:
    """Return what a client is told of an error."""
    return ErrorBody(message=error.message, code=error.code)


async def _watch(exchange: HttpExchange, reader: Reader) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    reader.release()
