"""A channel as a stream: a `nop` once the server listens, then messages, for as long as anybody reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from turnwise.server.channels.base import ChannelMessage, Lagging
from turnwise.server.channels.batch import Batch
from turnwise.server.encode import encode_events
from turnwise.server.errors import DomainError, TooManyRequests
from turnwise.server.exchange import Disconnected, HttpExchange
from turnwise.server.ids import Clock
from turnwise.server.negotiate import Form
from turnwise.types.error import ErrorBody
from turnwise.types.event import ErrorEvent, Event, NopEvent, PingEvent

__all__ = ["Subscription", "encode_messages"]

Batches = AsyncIterator[Sequence[ChannelMessage]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A channel to be listened to: entered, nothing is missed any more."""

    messages: AbstractAsyncContextManager[Batches]

    async def render(self, exchange: HttpExchange, content_type: bytes, *, clock: Clock, ping_interval: float) -> None:
        """Send events until the client goes, reads too slowly, or the channels are closed."""
        async with self.messages as batches:
            await exchange.begin(content_type)
            stream = _Stream(exchange, batches, clock=clock, ping_interval=ping_interval)
            try:
                async with asyncio.timeout(None) as scope:
                    watch = asyncio.create_task(_watch(exchange, scope))
                    try:
                        await stream.run()
                    finally:
                        watch.cancel()
            except TimeoutError:
                raise Disconnected from None


class _Stream:
    """Tells one client of a channel."""

    def __init__(self, exchange: HttpExchange, batches: Batches, *, clock: Clock, ping_interval: float) -> None:
        self._exchange = exchange
        self._batches = batches
        self._clock = clock
        self._ping_interval = ping_interval

    async def run(self) -> None:
        moment = self._clock()
        await self._say(NopEvent(created_at=moment))
        while True:
            try:
                async with asyncio.timeout(self._ping_interval):
                    messages = await anext(self._batches)
            except TimeoutError:
                await self._say(PingEvent(created_at=self._clock()))
                continue
            except StopAsyncIteration:
                await self._exchange.chunk(b"", more=False)
                return
            except Lagging:
                await self._fail(_too_slow())
                return
            except DomainError as error:
                await self._fail(error)
                return
            await self._exchange.chunk(encode_messages(messages, self._exchange.form), more=True)

    async def _say(self, event: Event, *, more: bool = True) -> None:
        await self._exchange.chunk(encode_events((event,), self._exchange.form), more=more)

    async def _fail(self, error: DomainError) -> None:
        body = ErrorBody(message=error.message, code=error.code)
        await self._say(ErrorEvent(data=body, created_at=self._clock()), more=False)


def encode_messages(messages: Sequence[ChannelMessage], form: Form) -> bytes:
    """Return messages as events, ready to be sent; those that many subscribers get are encoded once."""
    make = _frames if form is Form.SSE else _lines
    return messages.once(make, make) if isinstance(messages, Batch) else make(messages)


def _lines(messages: Sequence[ChannelMessage]) -> bytes:
    line = b'{"type":"message","data":%b,"seq":%d,"createdAt":%d}\n'
    return b"".join([line % (message.data, message.seq, message.at) for message in messages])


def _frames(messages: Sequence[ChannelMessage]) -> bytes:
    frame = b'event: message\ndata: {"type":"message","data":%b,"seq":%d,"createdAt":%d}\n\n'
    return b"".join([frame % (message.data, message.seq, message.at) for message in messages])


def _too_slow() -> DomainError:
    return TooManyRequests(
        "Messages come faster than you read them. Subscribe again, with `after` set to the last `seq` you got: "
        "you then go on with what is kept."
    )


async def _watch(exchange: HttpExchange, scope: asyncio.Timeout) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    scope.reschedule(0)
