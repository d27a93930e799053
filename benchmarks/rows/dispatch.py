"""`dispatch`: how soon it is answered, and how soon a subscriber hears of it, beside a plain streamed `complete`.

One turn at a time, in new conversations with two exchanges in them, over the same upstream. The subscriber listens
before the turn is dispatched. Both are timed to the first event, which tells that the user's message is stored.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import cast

import msgspec

from benchmarks.completions import completions, conversations
from benchmarks.load import LAST_CHUNK, post
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtMost, Figure, Line
from benchmarks.request import TEXT
from benchmarks.servers.raw import run
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

TURNS = 150
FIRST_EVENT = b'"sendResult"'
FIRST_TOKEN = b"word0"
PATIENCE = 30.0


def measure(_: Options) -> list[Line]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        upstream = opened.enter_context(BenchmarkServer("upstream"))
        server = opened.enter_context(TurnwiseServer(folder, upstream=upstream.url)).listening()
        plain, dispatched = Times(), Times()
        requests, conversation_ids = completions(server, TURNS), conversations(server, TURNS)
        run(_measure(server.port, requests, conversation_ids, plain, dispatched))
    event, token = median(dispatched.events), median(dispatched.tokens)
    plain_event, plain_token = median(plain.events), median(plain.tokens)
    return [
        Figure(
            row="dispatch: answered",
            ours=_milliseconds(median(dispatched.answers)),
            other=f"slowest of {TURNS}: {_milliseconds(max(dispatched.answers))}",
            value=median(dispatched.answers) * 1000,
            unit="ms",
            bound=AtMost(10),
        ),
        Figure(
            row="dispatch: first event to a subscriber, later than to a reader of `complete`",
            ours=_milliseconds(event),
            other=f"complete {_milliseconds(plain_event)}",
            value=(event - plain_event) * 1000,
            unit="ms",
            bound=AtMost(5),
        ),
        Figure(
            row="dispatch: first token, likewise",
            ours=_milliseconds(token),
            other=f"complete {_milliseconds(plain_token)}",
            value=(token - plain_token) * 1000,
            unit="ms",
        ),
    ]


@dataclass(slots=True)
class Times:
    """Seconds from sending a request, one value a turn."""

    answers: list[float] = field(default_factory=list[float])
    events: list[float] = field(default_factory=list[float])
    tokens: list[float] = field(default_factory=list[float])


class Connection(asyncio.Protocol):
    """One connection, which notes when something is read for the first time."""

    def __init__(self) -> None:
        self._received = b""
        self._wanted: tuple[bytes, asyncio.Future[float]] | None = None
        self._transport = cast("asyncio.Transport", None)

    @classmethod
    async def to(cls, port: int) -> Connection:
        return (await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._wanted is not None and not self._wanted[1].done():
            self._wanted[1].set_exception(exc or ConnectionResetError(f"cut after {self._received[-500:]!r}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._wanted is not None and self._wanted[0] in self._received and not self._wanted[1].done():
            self._wanted[1].set_result(time.perf_counter())

    def send(self, request: bytes) -> float:
        """Send a request; return the moment."""
        self._received = b""
        self._transport.write(request)
        return time.perf_counter()

    async def until(self, marker: bytes) -> float:
        """Return the moment at which the marker was received."""
        if marker in self._received:
            return time.perf_counter()
        self._wanted = marker, asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(self._wanted[1], PATIENCE)

    def close(self) -> None:
        self._transport.close()


async def _measure(
    port: int, requests: list[bytes], conversation_ids: list[str], plain: Times, dispatched: Times
) -> None:
    reader, caller = await Connection.to(port), await Connection.to(port)
    for number, (request, conversation_id) in enumerate(zip(requests, conversation_ids, strict=True)):
        begin = reader.send(request)
        plain.events.append(await reader.until(FIRST_EVENT) - begin)
        plain.tokens.append(await reader.until(FIRST_TOKEN) - begin)
        await reader.until(LAST_CHUNK)
        await _dispatch(port, caller, conversation_id, f"benchmark-of-dispatch-{number:06}", dispatched)
    reader.close()
    caller.close()


async def _dispatch(port: int, caller: Connection, conversation_id: str, channel_id: str, times: Times) -> None:
    """Dispatch a turn, and time its answer and its events on a channel that is listened to already."""
    subscriber = await Connection.to(port)
    subscriber.send(post(f"/api/v1/channel/{channel_id}/subscribe", b"{}", HEADERS))
    await subscriber.until(b'"nop"')
    body = msgspec.json.encode({"text": TEXT, "channelId": channel_id})
    begin = caller.send(post(f"/api/v1/conversation/{conversation_id}/dispatch", body, HEADERS))

    async def listen() -> None:
        times.events.append(await subscriber.until(FIRST_EVENT) - begin)
        times.tokens.append(await subscriber.until(FIRST_TOKEN) - begin)
        await subscriber.until(b'"result"')

    listening = asyncio.create_task(listen())
    times.answers.append(await caller.until(b'"channelId"') - begin)
    await listening
    subscriber.close()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
