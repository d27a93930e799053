"""HTTP/1.1 with nothing to spare: the floor that every server here stands on."""

from __future__ import annotations

import asyncio
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TypeVar, cast

__all__ = ["RawHttp", "chunk", "json_answer", "run", "serve"]

T = TypeVar("T")

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class RawHttp(asyncio.Protocol, ABC):
    """One connection. Requests may be pipelined, but each is answered before the next is read."""

    def __init__(self) -> None:
        self._pending = b""
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(self._pending, 0, end + 2)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._pending) < whole:
                return
            head, body = self._pending[:end], self._pending[end + 4 : whole]
            self._pending = self._pending[whole:]
            self.answer(head, body)

    @abstractmethod
    def answer(self, head: bytes, body: bytes) -> None:
        """Answer one request; `head` is its request line and headers."""


def json_answer(body: bytes) -> bytes:
    """Return a whole answer of status 200."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def chunk(data: bytes) -> bytes:
    """Return one piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def serve(protocol: Callable[[], RawHttp]) -> None:
    """Listen on a free loopback port, print it, and serve until the standard input closes or the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The parent's end of this pipe closes even when the parent is killed: nothing is left running.
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def run(main: Coroutine[None, None, T], *, fast: bool = True) -> T:
    """Run on uvloop, where it is installed and wanted, else on asyncio's own loop."""
    if fast:
        try:
            import uvloop
        except ModuleNotFoundError:
            pass
        else:
            return uvloop.run(main)
    return asyncio.run(main)
