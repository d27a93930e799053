"""HTTP through urllib3, for the synchronous clients."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Protocol, cast

import urllib3
from urllib3 import exceptions

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
from turnwise._transport.chunked import ChunkedBody

__all__ = ["Urllib3Transport"]

BLOCK = 65536
POOL_SIZE = 100


class Urllib3Transport:
    """Sends requests over pooled connections; a process forked from this one makes a pool of its own."""

    def __init__(self, manager: urllib3.PoolManager | None = None) -> None:
        self._given = manager
        self._pools: dict[tuple[int, str], urllib3.HTTPConnectionPool] = {}
        self._timeouts: dict[Timeout, urllib3.Timeout] = {}

    def send(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> Urllib3Response:
        """Send `request`; return once the headers of the answer are here."""
        headers = dict(request.headers)
        headers.setdefault("accept-encoding", "identity" if stream else "gzip, deflate")
        deadline = None if timeout.total is None else monotonic() + timeout.total
        limits = self._timeouts.get(timeout) or self._limits(timeout)
        try:
            # The pool itself, asked for a path, does much less than the manager asked for an address.
            if self._given is None:
                raw = self._pool(request.origin).urlopen(
                    request.method,
                    request.target,
                    body=request.body,
                    headers=headers,
                    timeout=limits,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                )
            else:
                raw = self._given.urlopen(
                    request.method,
                    request.url,
                    redirect=False,
                    body=request.body,
                    headers=headers,
                    timeout=limits,
                    retries=False,
                    preload_content=False,
                )
        except (exceptions.HTTPError, OSError) as error:
            raise translated(error, request.origin, timeout, deadline) from error
        return Urllib3Response(cast("urllib3.HTTPResponse", raw), request.origin, timeout, deadline)

    def close(self) -> None:
        """Close the idle connections, but not those of a manager that was given."""
        process = os.getpid()
        for key in [key for key in self._pools if key[0] == process]:
            self._pools.pop(key).close()

    def _pool(self, origin: str) -> urllib3.HTTPConnectionPool:
        key = (os.getpid(), origin)
        pool = self._pools.get(key)
        if pool is None:
            made = urllib3.connection_from_url(origin, maxsize=POOL_SIZE)
            pool = self._pools.setdefault(key, made)
        return pool

    def _limits(self, timeout: Timeout) -> urllib3.Timeout:
        limits = urllib3.Timeout(connect=timeout.connect, read=timeout.idle, total=timeout.total)
        if len(self._timeouts) < POOL_SIZE:
            self._timeouts[timeout] = limits
        return limits


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class Urllib3Response:
    """An answer of which the body is still to be read."""

    def __init__(self, raw: urllib3.HTTPResponse, origin: str, timeout: Timeout, deadline: float | None) -> None:
        self._raw = raw
        self._origin = origin
        self._timeout = timeout
        self._deadline = deadline
        self.status = raw.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in raw.headers.items()}

    def read(self) -> bytes:
        """Read the whole body and give the connection back."""
        if self._deadline is not None:
            return b"".join(self.chunks())
        try:
            body = self._raw.read()
        except (exceptions.HTTPError, OSError) as error:
            self.close()
            raise translated(error, self._origin, self._timeout, self._deadline) from error
        except BaseException:
            self.close()
            raise
        self._raw.release_conn()
        return body

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        timer = self._alarm()
        source = self._dechunked() if self._plainly_chunked() else self._decoded()
        try:
            yield from source
        except (exceptions.HTTPError, OSError) as error:
            raise translated(error, self._origin, self._timeout, self._deadline) from error
        finally:
            if timer is not None:
                timer.cancel()
            self.close()

    def close(self) -> None:
        """Close the connection, unless it went back to the pool."""
        if self._raw.connection is not None:
            self._shut()  # wakes a thread that is reading
            self._raw.close()
            self._raw.release_conn()

    def _plainly_chunked(self) -> bool:
        return self._raw.chunked and "content-encoding" not in self.headers

    def _decoded(self) -> Iterator[bytes]:
        while True:
            self._tighten()
            block = self._raw.read1(BLOCK)
            if not block:
                self._check_deadline()
                self._raw.release_conn()
                return
            yield block

    def _dechunked(self) -> Iterator[bytes]:
        answer = self._raw._fp  # noqa: SLF001 - what urllib3's own read_chunked() reads from, chunk by chunk
        source = cast("_Readable", answer.fp)  # type: ignore[union-attr]
        body = ChunkedBody()
        while not body.done:
            self._tighten()
            block = source.read1(BLOCK)
            if not block:
                self._check_deadline()
                raise exceptions.ProtocolError("the connection closed within a chunked body")
            payload = body.feed(block)
            if payload:
                yield payload
            if body.broken:
                raise exceptions.ProtocolError("the chunked body is malformed")
        if not body.surplus:
            answer.close()  # type: ignore[union-attr]
            self._raw.release_conn()

    def _tighten(self) -> None:
        """Let the next read wait no longer than the time that is left as a whole."""
        if self._deadline is None:
            return
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        sock = self._raw.connection.sock if self._raw.connection is not None else None
        if sock is not None:
            sock.settimeout(left if self._timeout.idle is None else min(left, self._timeout.idle))

    def _alarm(self) -> threading.Timer | None:
        """Guard the total time where the socket is out of reach: urllib3 lets go of one that will be closed."""
        connection = self._raw.connection
        if self._deadline is None or connection is None or connection.sock is not None:
            return None
        timer = threading.Timer(max(0.0, self._deadline - monotonic()), self._shut)
        timer.daemon = True
        timer.start()
        return timer

    def _shut(self) -> None:
        with contextlib.suppress(ValueError, RuntimeError, OSError):  # it ended by itself in this very moment
            self._raw.shutdown()

    def _check_deadline(self) -> None:
        if self._deadline is not None and monotonic() >= self._deadline:
            raise TimeoutError


def translated(
    error: Exception, origin: str, timeout: Timeout, deadline: float | None
) -> ConnectionFailedError | TimedOutError:
    """Return what `error` of urllib3 or of the socket means to us."""
    # To urllib3 a refused connection is a kind of timeout.
    if isinstance(error, exceptions.ConnectTimeoutError) and not isinstance(error, exceptions.NewConnectionError):
        if deadline is not None and monotonic() >= deadline:
            return TotalTimeout(f"{origin} did not accept a connection within {timeout.total:g} s in all")
        return ConnectTimeout(f"{origin} did not accept a connection within {timeout.connect:g} s")
    if isinstance(error, (exceptions.ReadTimeoutError, TimeoutError)):
        if deadline is not None and monotonic() >= deadline - 0.001:
            return TotalTimeout(f"{origin} did not finish its answer within {timeout.total:g} s")
        return IdleTimeout(f"{origin} sent nothing for {timeout.idle:g} s")
    if isinstance(error, (exceptions.NewConnectionError, exceptions.ProxyError)) or _is_handshake(error):
        return ConnectError(f"Could not connect to {origin}: {_reason(error)}")
    return ConnectionLost(f"The connection to {origin} broke before the answer was complete: {_reason(error)}")


def _is_handshake(error: Exception) -> bool:
    cause = error.args[0] if isinstance(error, exceptions.SSLError) and error.args else error
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def _reason(error: BaseException) -> str:
    """The innermost reason, in its own words."""
    inner = error.__cause__ or error.__context__
    while isinstance(error, exceptions.HTTPError) and inner is not None:
        error, inner = inner, inner.__cause__ or inner.__context__
    return str(error) or type(error).__name__
