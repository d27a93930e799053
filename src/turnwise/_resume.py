"""Streams that go on where they broke: work in the background, followed on its channel.

What is to be done is decided once, in `Following`; `ResumableStream` and `AsyncResumableStream` only do it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

from turnwise._call import Call, StreamCall
from turnwise._dispatch import DispatchStreamCall
from turnwise._errors import TurnwiseError
from turnwise._following import Answer, Dispatch, Following, Read, Step, Tell, Wait
from turnwise._options import ClientOptions
from turnwise._streaming import AsyncStream, Stream
from turnwise._transport.base import AsyncTransportResponse, TransportResponse
from turnwise.types.conversation import DispatchResult
from turnwise.types.event import ChannelEvent

if TYPE_CHECKING:
    from typing import Self

__all__ = ["AsyncResumableStream", "ResumableStream"]

T = TypeVar("T")
R = TypeVar("R")


class ResumableStream(Following[T, R], Stream[T, R]):
    """A stream of work in the background, which connects again by itself where it was cut.

    It is used as every `Stream`. The work starts on entering, or on the first event; leaving early leaves it running.
    An event `attempt` tells that a server took the work over from one that died: `text` goes on without what had come
    of the message that was being made.
    """

    def __init__(
        self,
        call: DispatchStreamCall[T, R],
        options: ClientOptions,
        run: Callable[[Call[DispatchResult]], DispatchResult],
        connect: Callable[[StreamCall[ChannelEvent, None]], TransportResponse],
    ) -> None:
        self._begin(call, options)
        self._run = run
        self._target: StreamCall[ChannelEvent, None] | None = None
        self._blocks: Iterator[bytes] = iter(())
        self._batch: Iterator[T] | None = None
        self._left = threading.Event()
        super().__init__(call, lambda: connect(cast("StreamCall[ChannelEvent, None]", self._target)))

    def __enter__(self) -> Self:
        self._start()
        return self

    def close(self) -> None:
        """Close the connection, if it is open, and connect no more; what has not been read never will be."""
        super().close()
        self._left.set()

    def _flow(self) -> Generator[T, None, None]:
        try:
            self._start()
            while self._batch is not None:
                yield from self._batch
                self._batch = self._advance()
        finally:
            self._hang_up()

    def _start(self) -> None:
        if self._target is None:
            self._batch = self._advance()

    def _advance(self) -> Iterator[T] | None:
        """Do what is to be done until there are events; `None` at the end."""
        step = self._next_step(None)
        while step is not None and not isinstance(step, Tell):
            try:
                answer = self._perform(step)
            except TurnwiseError as error:
                step = self._next_step(None, error)
            else:
                step = self._next_step(answer)
        return None if step is None else step.events

    def _perform(self, step: Step) -> Answer:
        if isinstance(step, Dispatch):
            return self._run(step.call)
        if isinstance(step, Read):
            return next(self._blocks, None)
        if isinstance(step, Wait):
            self._hang_up()
            self._left.wait(step.seconds)
        else:
            self._target = step.call
            self._blocks = self._open().chunks()
        return None

    def _hang_up(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


class AsyncResumableStream(Following[T, R], AsyncStream[T, R]):
    """A stream of work in the background, which connects again by itself where it was cut.

    It is used as every `AsyncStream`. The work starts on entering, or on the first event; leaving early leaves it
    running. An event `attempt` tells that a server took the work over from one that died: `text` goes on without what
    had come of the message that was being made.
    """

    def __init__(
        self,
        call: DispatchStreamCall[T, R],
        options: ClientOptions,
        run: Callable[[Call[DispatchResult]], Awaitable[DispatchResult]],
        connect: Callable[[StreamCall[ChannelEvent, None]], Awaitable[AsyncTransportResponse]],
    ) -> None:
        self._begin(call, options)
        self._run = run
        self._target: StreamCall[ChannelEvent, None] | None = None
        self._blocks: AsyncIterator[bytes] | None = None
        self._batch: Iterator[T] | None = None
        self._left = asyncio.Event()
        super().__init__(call, lambda: connect(cast("StreamCall[ChannelEvent, None]", self._target)))

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def aclose(self) -> None:
        """Close the connection, if it is open, and connect no more; what has not been read never will be."""
        await super().aclose()
        self._left.set()

    async def _flow(self) -> AsyncGenerator[T, None]:
        try:
            await self._start()
            while self._batch is not None:
                for event in self._batch:
                    yield event
                self._batch = await self._advance()
        finally:
            self._hang_up()

    async def _start(self) -> None:
        if self._target is None:
            self._batch = await self._advance()

    async def _advance(self) -> Iterator[T] | None:
        """Do what is to be done until there are events; `None` at the end."""
        step = self._next_step(None)
        while step is not None and not isinstance(step, Tell):
            try:
                answer = await self._perform(step)
            except TurnwiseError as error:
                step = self._next_step(None, error)
            else:
                step = self._next_step(answer)
        return None if step is None else step.events

    async def _perform(self, step: Step) -> Answer:
        if isinstance(step, Dispatch):
            return await self._run(step.call)
        if isinstance(step, Read):
            return await anext(cast("AsyncIterator[bytes]", self._blocks), None)
        if isinstance(step, Wait):
            self._hang_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(step.seconds):
                    await self._left.wait()
        else:
            self._target = step.call
            self._blocks = (await self._open()).achunks()
        return None

    def _hang_up(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
