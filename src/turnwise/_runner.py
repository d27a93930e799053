"""Performs calls: one runner that blocks, one that awaits. What they decide is decided once, in `Attempt`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from turnwise._call import Call, Exchange, PageCall, StreamCall
from turnwise._decode import Reply, api_error, decode_result, disguised_error, is_stream
from turnwise._dispatch import ResumableToolStreamCall
from turnwise._errors import TurnwiseError
from turnwise._log import ExchangeLog, configure, enabled
from turnwise._options import ClientOptions, build, policy_of, timeout_of
from turnwise._pagination import AsyncPage, Leaf, Page, exchange_of
from turnwise._raw import RawResponse
from turnwise._retry import Sleep, adrive, drive
from turnwise._streaming import AsyncStream, Stream, not_a_stream
from turnwise._transport import async_transport, transport
from turnwise._transport.base import AsyncTransport, AsyncTransportResponse, Transport, TransportResponse

if TYPE_CHECKING:
    from turnwise._dispatch import DispatchStreamCall, ResumableCall, ToolCall, ToolStreamCall
    from turnwise._resume import AsyncResumableStream, ResumableStream

__all__ = ["AsyncRunner", "SyncRunner"]

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E")


class Attempt:
    """One call under way: what is sent, under which limits, and what its answers mean."""

    def __init__(self, options: ClientOptions, exchange: Exchange, *, stream: bool = False) -> None:
        self.request = build(options, exchange, stream=stream)
        self.timeout = timeout_of(options, exchange, stream=stream)
        self.policy = policy_of(options, exchange, self.request)
        self._log = ExchangeLog(self.request, options.secret) if enabled() else None

    def begins(self) -> None:
        """The request is about to be sent."""
        if self._log is not None:
            self._log.sends()

    def failed(self, error: TurnwiseError) -> None:
        """No answer came."""
        if self._log is not None:
            self._log.failed(error)

    def waits(self, step: Sleep) -> float:
        """Return how long to wait before the next attempt."""
        if self._log is not None:
            self._log.waits(step.seconds, step.error)
        return step.seconds

    def streams(self, response: TransportResponse | AsyncTransportResponse) -> bool:
        """Return whether the answer is a stream of events."""
        if not is_stream(response):
            return False
        if self._log is not None:
            self._log.answered(response.status, response.headers, None)
        return True

    def replied(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """Return the answer, or raise the error that it is."""
        if self._log is not None:
            self._log.answered(status, headers, body)
        reply = Reply(status, headers, body)
        if not 200 <= status < 300:
            raise api_error(reply, self.request)
        return reply


def raw_response(reply: Reply) -> RawResponse:
    """Return an answer as it came, or raise the error that it is in disguise."""
    error = disguised_error(reply)
    if error is not None:
        raise error
    return RawResponse(reply.info, reply.body)


def _refuse(reply: Reply) -> TurnwiseError:
    return disguised_error(reply) or not_a_stream(reply)


class SyncRunner:
    """Performs calls and blocks until they are done. Many threads may use one."""

    def __init__(self, options: ClientOptions, over: Transport | None = None) -> None:
        configure()
        self.options = options
        self.transport = over if over is not None else transport(options.http_client)

    def with_options(self, options: ClientOptions) -> SyncRunner:
        """Return a runner with other options, which shares the connections unless the options bring others."""
        shared = options.http_client is self.options.http_client
        return SyncRunner(options, self.transport if shared else None)

    def run(self, call: Call[T]) -> T:
        """Perform `call` and return its result."""
        return decode_result(call.result, self._fetch(call))

    def stream(self, call: StreamCall[T, R]) -> Stream[T, R]:
        """Return the stream of `call`; it opens when it is entered or read."""
        return Stream(call, lambda: self._connect(call))

    def stream_resumably(self, call: DispatchStreamCall[T, R]) -> ResumableStream[T, R]:
        """Return the stream of work in the background; it starts when it is entered or read."""
        from turnwise._resume import ResumableStream

        return ResumableStream(call, self.options, self.run, self._connect)

    def stream_with_tools(self, call: ToolStreamCall[T, R]) -> Stream[T, R]:
        """Return the stream of `call`, which answers the calls of its tools."""
        from turnwise._run import ResumableToolStream, ToolStream

        if isinstance(call, ResumableToolStreamCall):
            return ResumableToolStream(call, self.options, self.run, self._connect, self.run)
        return ToolStream(call, lambda: self._connect(call), self.run)

    def run_resumably(self, call: ResumableCall[R, E]) -> R:
        """Perform `call` in the background, follow it to its end and return its result."""
        return self.stream_resumably(call.stream()).until_done()

    def run_with_tools(self, call: ToolCall[R, E]) -> R:
        """Perform `call`, answer the calls of its tools, and return its result."""
        return self.stream_with_tools(call.stream()).until_done()

    def pages(self, call: PageCall[T]) -> Page[T]:
        """Fetch the first page of `call`."""
        return Page(Leaf(call, self._fetch_page(call)), self._fetch_page)

    def fetch_raw(self, exchange: Exchange) -> RawResponse:
        """Perform `exchange` and return its answer as it came, unless it is an error."""
        return raw_response(self._fetch(exchange))

    def close(self) -> None:
        """Close the connections, unless they are those of an `http_client` that was given."""
        if self.options.http_client is None:
            self.transport.close()

    def _fetch(self, exchange: Exchange) -> Reply:
        attempt = Attempt(self.options, exchange)

        def send() -> Reply:
            attempt.begins()
            try:
                response = self.transport.send(attempt.request, attempt.timeout, stream=False)
                body = response.read()
            except TurnwiseError as error:
                attempt.failed(error)
                raise
            return attempt.replied(response.status, response.headers, body)

        return drive(attempt.policy, send, lambda step: time.sleep(attempt.waits(step)))

    def _fetch_page(self, call: PageCall[T]) -> Reply:
        return self._fetch(exchange_of(call))

    def _connect(self, call: StreamCall[T, R]) -> TransportResponse:
        attempt = Attempt(self.options, call, stream=True)

        def send() -> TransportResponse | Reply:
            attempt.begins()
            try:
                response = self.transport.send(attempt.request, attempt.timeout, stream=True)
                if attempt.streams(response):
                    return response
                body = response.read()
            except TurnwiseError as error:
                attempt.failed(error)
                raise
            return attempt.replied(response.status, response.headers, body)

        answer = drive(attempt.policy, send, lambda step: time.sleep(attempt.waits(step)))
        if isinstance(answer, Reply):
            raise _refuse(answer)
        return answer


class AsyncRunner:
    """Performs calls in the running event loop. One runner serves one loop after another."""

    def __init__(self, options: ClientOptions, over: AsyncTransport | None = None) -> None:
        configure()
        self.options = options
        self.transport = over if over is not None else async_transport(options.http_client)

    def with_options(self, options: ClientOptions) -> AsyncRunner:
        """Return a runner with other options, which shares the connections unless the options bring others."""
        shared = options.http_client is self.options.http_client
        return AsyncRunner(options, self.transport if shared else None)

    async def run(self, call: Call[T]) -> T:
        """Perform `call` and return its result."""
        return decode_result(call.result, await self._fetch(call))

    def stream(self, call: StreamCall[T, R]) -> AsyncStream[T, R]:
        """Return the stream of `call`; it opens when it is entered or read."""
        return AsyncStream(call, lambda: self._connect(call))

    def stream_resumably(self, call: DispatchStreamCall[T, R]) -> AsyncResumableStream[T, R]:
        """Return the stream of work in the background; it starts when it is entered or read."""
        from turnwise._resume import AsyncResumableStream

        return AsyncResumableStream(call, self.options, self.run, self._connect)

    def stream_with_tools(self, call: ToolStreamCall[T, R]) -> AsyncStream[T, R]:
        """Return the stream of `call`, which answers the calls of its tools."""
        from turnwise._run import AsyncResumableToolStream, AsyncToolStream

        if isinstance(call, ResumableToolStreamCall):
            return AsyncResumableToolStream(call, self.options, self.run, self._connect, self.run)
        return AsyncToolStream(call, lambda: self._connect(call), self.run)

    async def run_resumably(self, call: ResumableCall[R, E]) -> R:
        """Perform `call` in the background, follow it to its end and return its result."""
        return await self.stream_resumably(call.stream()).until_done()

    async def run_with_tools(self, call: ToolCall[R, E]) -> R:
        """Perform `call`, answer the calls of its tools, and return its result."""
        return await self.stream_with_tools(call.stream()).until_done()

    def pages(self, call: PageCall[T]) -> AsyncPage[T]:
        """Return the first page of `call`; it is fetched when it is awaited or iterated over."""
        return AsyncPage(call, self._fetch_page)

    async def fetch_raw(self, exchange: Exchange) -> RawResponse:
        """Perform `exchange` and return its answer as it came, unless it is an error."""
        return raw_response(await self._fetch(exchange))

    async def close(self) -> None:
        """Close the connections of this loop, unless they are those of an `http_client` that was given."""
        if self.options.http_client is None:
            await self.transport.aclose()

    async def _fetch(self, exchange: Exchange) -> Reply:
        attempt = Attempt(self.options, exchange)

        async def send() -> Reply:
            attempt.begins()
            try:
                response = await self.transport.asend(attempt.request, attempt.timeout, stream=False)
                body = await response.aread()
            except TurnwiseError as error:
                attempt.failed(error)
                raise
            return attempt.replied(response.status, response.headers, body)

        return await adrive(attempt.policy, send, lambda step: _asleep(attempt.waits(step)))

    async def _fetch_page(self, call: PageCall[T]) -> Reply:
        return await self._fetch(exchange_of(call))

    async def _connect(self, call: StreamCall[T, R]) -> AsyncTransportResponse:
        attempt = Attempt(self.options, call, stream=True)

        async def send() -> AsyncTransportResponse | Reply:
            attempt.begins()
            try:
                response = await self.transport.asend(attempt.request, attempt.timeout, stream=True)
                if attempt.streams(response):
                    return response
                body = await response.aread()
            except TurnwiseError as error:
                attempt.failed(error)
                raise
            return attempt.replied(response.status, response.headers, body)

        answer = await adrive(attempt.policy, send, lambda step: _asleep(attempt.waits(step)))
        if isinstance(answer, Reply):
            raise _refuse(answer)
        return answer


async def _asleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
