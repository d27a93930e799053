"""HTTP through aiohttp, for the asynchronous clients."""

from __future__ import annotations

import asyncio
import io
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import aiohttp
from yarl import URL

from turnwise._call import Timeout
from turnwise._errors import (
    ConnectError,
    ConnectionFailedError,
    ConnectionLost,
    ConnectTimeout,
    IdleTimeout,
    TimedOutError,
    TotalTimeout,
)
from turnwise._transport.base import WireRequest

__all__ = ["AiohttpTransport"]

LARGE = 2**20
"""A body above this is handed over in pieces, so that it does not hold up the loop."""

_left_to_the_parent: list[object] = []
"""Sessions of the process this one was forked from: closing them here would disturb its sockets."""


class _Sessions:
    """One session for each event loop, made on first use and closed with the loop."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._open: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[aiohttp.ClientSession, None]] = {}

    async def current(self) -> aiohttp.ClientSession:
        """Return the session of the running loop."""
        self._leave_to_parent()
        loop = asyncio.get_running_loop()
        session = self._open.get(loop)
        if session is None:
            keeper = self._keepers[loop] = self._keep(loop)
            session = await anext(keeper)  # which does not let go of the loop, so there is one
            await self._forget_closed_loops()
        return session

    async def close(self) -> None:
        """Close the session of the running loop."""
        self._leave_to_parent()
        keeper = self._keepers.get(asyncio.get_running_loop())
        if keeper is not None:
            await keeper.aclose()

    def abandon(self) -> None:
        """Let each loop that still runs close its session."""
        self._leave_to_parent()
        for loop, keeper in list(self._keepers.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(_close_soon, loop, keeper)

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession, None]:
        # A loop that ends closes its asynchronous generators, and so the session closes while it still can.
        connector = aiohttp.TCPConnector(limit=0)
        session = self._open[loop] = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        try:
            yield session
        finally:
            self._open.pop(loop, None)
            self._keepers.pop(loop, None)
            await session.close()

    async def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._open if loop.is_closed()]:
            self._keepers.pop(loop)
            await self._open.pop(loop).close()

    def _leave_to_parent(self) -> None:
        if self._process != os.getpid():
            _left_to_the_parent.append((self._open, self._keepers))
            self._process, self._open, self._keepers = os.getpid(), {}, {}


def _close_soon(loop: asyncio.AbstractEventLoop, keeper: AsyncGenerator[aiohttp.ClientSession, None]) -> None:
    _closing.add(task := loop.create_task(_close(keeper)))
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
"""Loops hold their tasks weakly."""


async def _close(keeper: AsyncGenerator[aiohttp.ClientSession, None]) -> None:
    await keeper.aclose()


class AiohttpTransport:
    """Sends requests through one session for each event loop."""

    def __init__(self, session: aiohttp.ClientSession | None = None) -> None:
        self._given = session
        self._sessions = _Sessions()
        self._limits: dict[Timeout, aiohttp.ClientTimeout] = {}
        # A client that is dropped without closing leaves no warning behind.
        weakref.finalize(self, self._sessions.abandon).atexit = False

    async def asend(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> AiohttpResponse:
        """Send `request`; return once the headers of the answer are here."""
        headers = dict(request.headers)
        headers.setdefault("accept-encoding", "identity" if stream else "gzip, deflate")
        body = request.body
        session = self._given or await self._sessions.current()
        try:
            raw = await session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=headers,
                data=io.BytesIO(body) if body is not None and len(body) > LARGE else body,
                timeout=self._limits.get(timeout) or self._limit(timeout),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error, request.origin, timeout) from error
        return AiohttpResponse(raw, request.origin, timeout)

    async def aclose(self) -> None:
        """Close the idle connections of this loop, but not those of a session that was given."""
        await self._sessions.close()

    def _limit(self, timeout: Timeout) -> aiohttp.ClientTimeout:
        limit = aiohttp.ClientTimeout(total=timeout.total, sock_connect=timeout.connect, sock_read=timeout.idle)
        if len(self._limits) < 100:
            self._limits[timeout] = limit
        return limit


class AiohttpResponse:
    """An answer of which the body is still to be read."""

    def __init__(self, raw: aiohttp.ClientResponse, origin: str, timeout: Timeout) -> None:
        self._raw = raw
        self._origin = origin
        self._timeout = timeout
        self.status = raw.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in raw.headers.items()}
        self._closed = self._watched() if "transfer-encoding" in self.headers else None

    async def aread(self) -> bytes:
        """Read the whole body and give the connection back."""
        try:
            return await self._raw.read()
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error, self._origin, self._timeout) from error
        finally:
            self.close()

    async def achunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        try:
            async for block in self._raw.content.iter_any():
                yield block
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: the client was closed meanwhile
            raise translated(error, self._origin, self._timeout) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection, unless it went back to the pool."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._ended)
            self._closed = None
        self._raw.close()

    def _watched(self) -> asyncio.Future[None] | None:
        # Where a chunk is malformed aiohttp closes the connection and never tells the one who reads the body.
        connection = self._raw.connection
        closed = connection.protocol.closed if connection is not None and connection.protocol is not None else None
        if closed is not None:
            closed.add_done_callback(self._ended)
        return closed

    def _ended(self, closed: asyncio.Future[None]) -> None:
        problem = None if closed.cancelled() else closed.exception()
        content = self._raw.content
        if content.exception() is None and not content.is_eof():
            content.set_exception(aiohttp.ClientPayloadError(f"the body is not complete: {problem or 'closed'}"))


def translated(error: Exception, origin: str, timeout: Timeout) -> ConnectionFailedError | TimedOutError:
    """Return what `error` of aiohttp or of the socket means to us."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectTimeout(f"{origin} did not accept a connection within {timeout.connect:g} s")
    if isinstance(error, aiohttp.SocketTimeoutError):
        return IdleTimeout(f"{origin} sent nothing for {timeout.idle:g} s")
    if isinstance(error, TimeoutError):
        return TotalTimeout(f"{origin} did not finish its answer within {timeout.total:g} s")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectError(f"Could not connect to {origin}: {_reason(error)}")
    return ConnectionLost(f"The connection to {origin} broke before the answer was complete: {_reason(error)}")


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
