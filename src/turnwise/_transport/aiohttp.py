"""HTTP through aiohttp, for the asynchronous clients."""

from __future__ import annotations

import asyncio
import io
import os
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


class AiohttpTransport:
    """Sends requests through one session for each event loop, made on first use and closed with the loop."""

    def __init__(self, session: aiohttp.ClientSession | None = None) -> None:
        self._given = session
        self._process = os.getpid()
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[aiohttp.ClientSession, None]] = {}
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._limits: dict[Timeout, aiohttp.ClientTimeout] = {}

    async def asend(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> AiohttpResponse:
        """Send `request`; return once the headers of the answer are here."""
        headers = dict(request.headers)
        headers.setdefault("accept-encoding", "identity" if stream else "gzip, deflate")
        body = request.body
        session = self._given or await self._session()
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
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.aclose()

    async def _session(self) -> aiohttp.ClientSession:
        if self._process != os.getpid():
            _left_to_the_parent.append((self._keepers, self._sessions))
            self._process, self._keepers, self._sessions = os.getpid(), {}, {}
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            self._forget_closed_loops()
            keeper = self._keepers[loop] = self._keep(loop)
            session = await anext(keeper)
        return session

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession, None]:
        # A loop that ends closes its asynchronous generators, and so the session closes while it still can.
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=True
        )
        self._sessions[loop] = session
        try:
            yield session
        finally:
            self._sessions.pop(loop, None)
            self._keepers.pop(loop, None)
            await session.close()

    def _forget_closed_loops(self) -> None:
        """Let go of the sessions of loops that were closed without closing their generators."""
        for loop in [loop for loop in self._keepers if loop.is_closed()]:
            session = self._sessions.pop(loop)
            self._keepers.pop(loop)
            if session.connector is not None:
                _left_to_the_parent.append(session.connector)
            session.detach()

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
        except (aiohttp.ClientError, OSError) as error:
            raise translated(error, self._origin, self._timeout) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection, unless it went back to the pool."""
        self._raw.close()


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
