"""Completions whose calls of tools are answered here: while the stream is read, tools run beside it.

What an event asks for and what becomes of a call is decided in `Calls`, the same for streams that end where they break
and for those that go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from typing import TypeVar

from turnwise._attend import Attended, Awaited
from turnwise._call import Call, StreamCall
from turnwise._calls import Calls, Publish
from turnwise._dispatch import ResumableToolStreamCall, ToolStreamCall
from turnwise._options import ClientOptions
from turnwise._resume import AsyncResumableStream, ResumableStream
from turnwise._streaming import AsyncStream, Stream
from turnwise._transport.base import AsyncTransportResponse, TransportResponse
from turnwise.types.channel import ChannelPublishResult
from turnwise.types.conversation import DispatchResult
from turnwise.types.event import ChannelEvent

__all__ = ["AsyncResumableToolStream", "AsyncToolStream", "ResumableToolStream", "ToolStream"]

T = TypeVar("T")
R = TypeVar("R")

GRACE = 5.0
"""How long the event that a result has arrived waits for the news that it was sent, in seconds."""


class Answering(Stream[T, R]):
    """A stream that answers the calls of tools, each in a thread beside it.

    Leaving it, early or not, waits until no call runs any more: an async one is cancelled, another one is waited for
    until it ends or its time is over. Nothing is published for it.
    """

    _calls: Calls[T, Attended]
    _publish: Callable[[Publish], ChannelPublishResult]

    def _flow(self) -> Generator[T, None, None]:
        try:
            with closing(super()._flow()) as events:
                for event in events:
                    self._settle(event)
                    call = self._calls.asked(event)
                    told = self._calls.told(event, call)
                    if call is not None:
                        self._take_on(call)
                    yield from told
        finally:
            self._leave()

    def _take_on(self, call: Attended) -> None:
        if call.take_on():
            call.begin(self._publish)
        if call not in self._calls.running:
            self._calls.running.append(call)

    def _settle(self, event: T) -> None:
        """Wait for the news of a call whose wait, as the server tells, has ended."""
        for call in self._calls.settled(event):
            call.attendant.join(GRACE)
            if not call.attendant.is_alive():
                self._calls.running.remove(call)

    def _leave(self) -> None:
        for call in self._calls.running:
            call.leave()
        for call in self._calls.running:
            call.over.wait()  # not for its answer, which may be on a slow way


class ToolStream(Answering[T, R]):
    """A completion that answers the calls of tools."""

    def __init__(
        self,
        call: ToolStreamCall[T, R],
        connect: Callable[[], TransportResponse],
        publish: Callable[[Publish], ChannelPublishResult],
    ) -> None:
        super().__init__(call, connect)
        self._calls = Calls(call, Attended)
        self._publish = publish


class ResumableToolStream(Answering[T, R], ResumableStream[T, R]):
    """Work in the background that is followed, and whose calls of tools are answered, however often it breaks."""

    def __init__(
        self,
        call: ResumableToolStreamCall[T, R],
        options: ClientOptions,
        run: Callable[[Call[DispatchResult]], DispatchResult],
        connect: Callable[[StreamCall[ChannelEvent, None]], TransportResponse],
        publish: Callable[[Publish], ChannelPublishResult],
    ) -> None:
        super().__init__(call, options, run, connect)
        self._calls = Calls(call, Attended, self._policy)
        self._publish = publish

    def _opened(self, response: TransportResponse | AsyncTransportResponse) -> None:
        super()._opened(response)
        self._calls.wake()


class AsyncAnswering(AsyncStream[T, R]):
    """A stream that answers the calls of tools beside it: async ones in tasks, others in threads.

    Leaving it, early or not, waits until no call runs any more: an async one is cancelled, another one is waited for
    until it ends or its time is over. Nothing is published for it.
    """

    _calls: Calls[T, Awaited]
    _publish: Callable[[Publish], Awaitable[ChannelPublishResult]]

    async def _flow(self) -> AsyncGenerator[T, None]:
        try:
            async with aclosing(super()._flow()) as events:
                async for event in events:
                    await self._settle(event)
                    call = self._calls.asked(event)
                    told = self._calls.told(event, call)
                    if call is not None:
                        self._take_on(call)
                    for each in told:
                        yield each
        finally:
            await self._leave()

    def _take_on(self, call: Awaited) -> None:
        if call.take_on():
            call.begin(self._publish)
        if call not in self._calls.running:
            self._calls.running.append(call)

    async def _settle(self, event: T) -> None:
        """Wait for the news of a call whose wait, as the server tells, has ended."""
        for call in self._calls.settled(event):
            await asyncio.wait([call.attendant], timeout=GRACE)
            if call.attendant.done():
                self._calls.running.remove(call)

    async def _leave(self) -> None:
        tasks: list[asyncio.Task[object]] = []
        for call in self._calls.running:
            call.leave()
            tasks += [call.work, call.attendant]
        await asyncio.gather(*tasks, return_exceptions=True)


class AsyncToolStream(AsyncAnswering[T, R]):
    """A completion that answers the calls of tools."""

    def __init__(
        self,
        call: ToolStreamCall[T, R],
        connect: Callable[[], Awaitable[AsyncTransportResponse]],
        publish: Callable[[Publish], Awaitable[ChannelPublishResult]],
    ) -> None:
        super().__init__(call, connect)
        self._calls = Calls(call, Awaited)
        self._publish = publish


class AsyncResumableToolStream(AsyncAnswering[T, R], AsyncResumableStream[T, R]):
    """Work in the background that is followed, and whose calls of tools are answered, however often it breaks."""

    def __init__(
        self,
        call: ResumableToolStreamCall[T, R],
        options: ClientOptions,
        run: Callable[[Call[DispatchResult]], Awaitable[DispatchResult]],
        connect: Callable[[StreamCall[ChannelEvent, None]], Awaitable[AsyncTransportResponse]],
        publish: Callable[[Publish], Awaitable[ChannelPublishResult]],
    ) -> None:
        super().__init__(call, options, run, connect)
        self._calls = Calls(call, Awaited, self._policy)
        self._publish = publish

    def _opened(self, response: TransportResponse | AsyncTransportResponse) -> None:
        super()._opened(response)
        self._calls.wake()
