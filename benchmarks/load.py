"""A load generator that costs little: prepared requests over a fixed number of connections."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

from benchmarks.servers.raw import run

__all__ = ["LAST_CHUNK", "Load", "get", "post", "run_load"]

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(slots=True)
class Load:
    """What a load did, and how long it took."""

    answers: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])
    """Seconds from each request to the first bytes with the marker, or to the answer's end."""
    refused: list[bytes] = field(default_factory=list[bytes])
    bodies: list[bytes] = field(default_factory=list[bytes])
    """The answers' bodies, where they are kept."""

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


class Caller(asyncio.Protocol):
    """One connection: sends the next request when the answer before it has ended."""

    def __init__(self, requests: Iterator[bytes], load: Load, *, marker: bytes | None, keep: bool) -> None:
        self._requests = requests
        self._load = load
        self._marker = marker
        self._keep = keep
        self._received = b""
        self._sent = 0.0
        self._marked = False
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection under load"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._marker is not None and not self._marked and self._marker in self._received:
            self._note()
        if self._ended():
            if not self._marked:
                self._note()
            if not self._received.startswith(b"HTTP/1.1 200"):
                self._load.refused.append(self._received[:500])
            elif self._keep:
                self._load.bodies.append(self._received.partition(b"\r\n\r\n")[2])
            self._load.answers += 1
            self._next()

    def _note(self) -> None:
        self._marked = True
        self._load.latencies.append(time.perf_counter() - self._sent)

    def _ended(self) -> bool:
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return False
        length = LENGTH.search(self._received, 0, head + 2)
        if length is None:
            return self._received.endswith(LAST_CHUNK)
        return len(self._received) >= head + 4 + int(length[1])

    def _next(self) -> None:
        request = next(self._requests, None)
        self._received = b""
        self._marked = False
        if request is None:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._sent = time.perf_counter()
            self._transport.write(request)


def run_load(
    port: int | Sequence[int],
    requests: Iterator[bytes],
    *,
    connections: int = 1,
    marker: bytes | None = None,
    keep: bool = False,
) -> Load:
    """Send all requests and return how that went; every answer must be a 200. Connections are spread over the ports."""
    load = Load()
    ports = [port] if isinstance(port, int) else port

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin = time.perf_counter()
        callers = [
            (await loop.create_connection(lambda: Caller(requests, load, marker=marker, keep=keep), "127.0.0.1", each))[
                1
            ]
            for each, _ in zip(cycle(ports), range(connections), strict=False)
        ]
        await asyncio.wait_for(asyncio.gather(*(caller.done for caller in callers)), 120)
        load.seconds = time.perf_counter() - begin

    run(main())
    assert not load.refused, f"{len(load.refused)} of {load.answers} were refused, the first: {load.refused[0]!r}"
    return load


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a whole POST request."""
    return (
        _request("POST", path, {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}) + body
    )


def get(path: str, headers: dict[str, str]) -> bytes:
    """Return a whole GET request."""
    return _request("GET", path, headers)


def _request(method: str, path: str, headers: dict[str, str]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n".encode()
