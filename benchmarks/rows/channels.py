"""Channels over HTTP: from publish to subscriber, to many subscribers, and what was kept, told again.

The clients are bare sockets that send and count bytes: what is measured is the server, and one publish at a time is
beside the same server storing a message in a conversation one at a time.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final, cast

from benchmarks.options import Options
from benchmarks.report import AtLeast, AtMost, Figure, Line
from benchmarks.servers.raw import run
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

ONE_BY_ONE: Final = 400
SUBSCRIBERS: Final = 100
PUBLISHERS: Final = 32
MESSAGES: Final = 6_000
KEPT: Final = 10_000
REPLAYS: Final = 5

MESSAGE: Final[dict[str, object]] = {"message": {"type": "token", "data": {"token": " reply"}}}
NUMBERED: Final = b'"seq":'


def measure(_: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder, TurnwiseServer(Path(folder)).listening() as server:
        return run(_measure(server))


async def _measure(server: TurnwiseServer) -> list[Line]:
    stored, heard = await _latency(server.port)
    deliveries, used = await _fan_out(server)
    replayed = await _replay(server.port)
    return [
        Figure(
            row="channels: publish to subscriber, one at a time, median",
            ours=f"{heard * 1e3:.2f} ms",
            other=f"`send`, answered: {stored * 1e3:.2f} ms",
            value=heard * 1e3,
            unit="ms",
            bound=AtMost(1.0),
        ),
        Figure(
            row=f"channels: deliveries a second to {SUBSCRIBERS} subscribers",
            ours=f"{deliveries:,.0f}/s",
            other=f"{used * 100:.0f} % of a core",
            value=deliveries / 1000,
            unit="thousand/s",
            bound=AtLeast(60),
        ),
        Figure(
            row=f"channels: replay of {KEPT:,} stored messages",
            ours=f"{replayed:.3f} s",
            value=replayed,
            unit="s",
            bound=AtMost(0.2),
        ),
    ]


class Socket(asyncio.Protocol):
    """Sends requests over one connection and counts what comes."""

    def __init__(self) -> None:
        self.messages = 0
        self._answers = 0
        self._changed = asyncio.Event()
        self._kept = b""

    @classmethod
    async def connect(cls, port: int) -> Socket:
        _, socket = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # What may be the beginning of a number's name, cut in two, is looked at again with what follows.
        data = self._kept + data
        self.messages += data.count(NUMBERED)
        self._answers += data.count(b"HTTP/1.1 200")
        self._kept = data[-len(NUMBERED) + 1 :]
        self._changed.set()

    def post(self, path: str, body: object) -> None:
        content = json.dumps(body).encode()
        headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        head = f"POST /api/v1{path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
        self.transport.write(head.encode() + content)

    async def ask(self, path: str, body: object) -> None:
        wanted = self._answers + 1
        self.post(path, body)
        while self._answers < wanted:
            await self._more()

    async def until(self, messages: int) -> None:
        while self.messages < messages:
            await self._more()

    async def _more(self) -> None:
        self._changed.clear()
        async with asyncio.timeout(30):
            await self._changed.wait()


async def _latency(port: int) -> tuple[float, float]:
    """Return the median seconds that `send` takes, and those from a publish to its subscriber."""
    subscriber, publisher = await Socket.connect(port), await Socket.connect(port)
    await subscriber.ask("/channel/benchmark-of-latency/subscribe", {})
    conversation = await _conversation(port)
    stored: list[float] = []
    heard: list[float] = []
    for number in range(ONE_BY_ONE):
        begin = time.perf_counter()
        await publisher.ask(f"/conversation/{conversation}/send", {"text": "reply"})
        stored.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        publisher.post("/channel/benchmark-of-latency/publish", MESSAGE)
        await subscriber.until(number + 1)
        heard.append(time.perf_counter() - begin)
        await asyncio.sleep(0.002)
    subscriber.transport.close()
    publisher.transport.close()
    return median(stored), median(heard)


async def _conversation(port: int) -> str:
    import urllib3

    def create() -> str:
        with urllib3.PoolManager() as pool:
            reply = pool.request(
                "POST", f"http://127.0.0.1:{port}/api/v1/conversation/create", json={}, headers=HEADERS
            )
            return str(reply.json()["id"])

    return await asyncio.to_thread(create)


async def _publish(port: int, channel: str, count: int) -> None:
    numbers = iter(range(count))

    async def publish() -> None:
        socket = await Socket.connect(port)
        for _ in numbers:
            await socket.ask(f"/channel/{channel}/publish", MESSAGE)
        socket.transport.close()

    await asyncio.gather(*(publish() for _ in range(PUBLISHERS)))


async def _fan_out(server: TurnwiseServer) -> tuple[float, float]:
    """Return deliveries a second, and the server's cores meanwhile."""
    channel = "benchmark-of-delivery"
    subscribers = [await Socket.connect(server.port) for _ in range(SUBSCRIBERS)]
    await asyncio.gather(*(each.ask(f"/channel/{channel}/subscribe", {}) for each in subscribers))
    begin, used = time.perf_counter(), server.cpu_seconds()
    await _publish(server.port, channel, MESSAGES)
    await asyncio.gather(*(each.until(MESSAGES) for each in subscribers))
    taken, used = time.perf_counter() - begin, server.cpu_seconds() - used
    assert all(each.messages == MESSAGES for each in subscribers), "a message was lost or doubled"
    for each in subscribers:
        each.transport.close()
    return SUBSCRIBERS * MESSAGES / taken, used / taken


async def _replay(port: int) -> float:
    """Return the median seconds in which everything that a full channel keeps is told."""
    channel = "benchmark-of-replay"
    await _publish(port, channel, KEPT)
    taken: list[float] = []
    for _ in range(REPLAYS):
        socket = await Socket.connect(port)
        begin = time.perf_counter()
        socket.post(f"/channel/{channel}/subscribe", {"historyLength": KEPT})
        await socket.until(KEPT)
        taken.append(time.perf_counter() - begin)
        assert socket.messages == KEPT, "a message was doubled"
        socket.transport.close()
    return median(taken)
