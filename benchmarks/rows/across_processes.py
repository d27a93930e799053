"""Tokens of dispatched turns that one process runs, read through another one: how late they come.

Two processes on one PostgreSQL database, which waits for the disk. The model server writes every token by itself, with
the moment at which it does; a token's lateness is what then passes until the subscriber has it. Beside it, the same
turns read through the process that runs them.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import cast

import msgspec
from tests.server.postgres import PostgresServer

from benchmarks.completions import conversations
from benchmarks.load import post, run_load
from benchmarks.options import Options
from benchmarks.postgres import MISSING, postgres_server
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtMost, Figure, Line, Skipped
from benchmarks.request import TEXT
from benchmarks.servers.paced import DIGITS, PACE
from benchmarks.servers.raw import run
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

TURNS = 30
SECONDS = 8
ROW = f"tokens of {TURNS} dispatched turns, read through another process"
MIDDLE, LAST_PERCENT = 35, 80
"""Milliseconds that the median and the 99th percentile may be."""

TOKEN = re.compile(rb'" (\d{%d})"' % DIGITS)
END = b'"type":"result"'
LISTENS = b'"nop"'
LONGEST_REST = 40

channels = (f"benchmark-of-processes-{number:06}" for number in count())


@dataclass(slots=True)
class Heard:
    """What all subscribers of a round heard."""

    late: list[float] = field(default_factory=list[float])
    """Milliseconds, of each token."""
    used: list[float] = field(default_factory=list[float])
    """CPU seconds a second: of the process that runs the turns, of the one that is read, of PostgreSQL."""

    @property
    def last_percent(self) -> float:
        return quantiles(self.late, n=100)[-1]

    def __str__(self) -> str:
        return f"p50 {median(self.late):.0f} ms, p99 {self.last_percent:.0f} ms"


def measure(options: Options) -> list[Line]:
    rounds: dict[str, list[Heard]] = {"elsewhere": [], "here": []}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        postgres = opened.enter_context(postgres_server())
        if postgres is None:
            return [Skipped(ROW, MISSING)]
        upstream = opened.enter_context(BenchmarkServer("paced", str(SECONDS)))
        servers: list[TurnwiseServer] = []
        for name in ("runs", "tells"):
            (folder / name).mkdir()
            server = TurnwiseServer(folder / name, upstream=upstream.url, database=postgres.url())
            servers.append(opened.enter_context(server).listening())
        runs, tells = servers
        for _ in range(options.rounds if options.full else 2):
            rounds["elsewhere"].append(_listen(runs, tells, postgres))
            rounds["here"].append(_listen(runs, runs, postgres))
    elsewhere, here = (min(each, key=lambda heard: heard.last_percent) for each in rounds.values())
    cpu, cpu_here = (", ".join(f"{share * 100:.0f} %" for share in heard.used) for heard in (elsewhere, here))
    return [
        Figure(
            row=f"{ROW}: median lateness",
            ours=str(elsewhere),
            other=f"through the same: {here}",
            value=median(elsewhere.late),
            unit="ms",
            bound=AtMost(MIDDLE),
        ),
        Figure(
            row="the same: 99th percentile",
            ours=f"CPU {cpu} (runs, is read, PostgreSQL)",
            other=f"the same: {cpu_here}",
            value=elsewhere.last_percent,
            unit="ms",
            bound=AtMost(LAST_PERCENT),
        ),
    ]


class Subscriber(asyncio.Protocol):
    """Listens to one channel until its turn has ended."""

    def __init__(self, channel_id: str, late: list[float]) -> None:
        self._channel_id = channel_id
        self._late = late
        self._rest = b""
        self.tokens = 0
        loop = asyncio.get_running_loop()
        self.listens: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(post(f"/api/v1/channel/{self._channel_id}/subscribe", b"{}", HEADERS))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError(f"cut after {self._rest!r}"))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns() // 1000 % 10**DIGITS
        data = self._rest + data
        end = 0
        for token in TOKEN.finditer(data):
            self._late.append((now - int(token[1])) / 1e3)
            self.tokens += 1
            end = token.end()
        if LISTENS in data and not self.listens.done():
            self.listens.set_result(None)
        if END in data and not self.done.done():
            self.done.set_result(None)
            self._transport.close()
        self._rest = data[max(end, len(data) - LONGEST_REST) :]


def _listen(runs: TurnwiseServer, tells: TurnwiseServer, postgres: PostgresServer) -> Heard:
    """Dispatch turns at one process, and listen through one."""
    heard = Heard()
    ids = conversations(runs, TURNS)

    def used() -> list[float]:
        return [runs.cpu_seconds(), tells.cpu_seconds(), _cpu_seconds(postgres)]

    before = used()
    run(_rounds(runs, tells, list(zip(ids, channels, strict=False)), heard))
    heard.used = [(now - then) / SECONDS for now, then in zip(used(), before, strict=True)]
    return heard


def _cpu_seconds(postgres: PostgresServer) -> float:
    """Return what all processes of the server used so far. Linux only."""
    first = (postgres.folder / "data" / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    ticks = 0
    for pid in (first, *children):
        user, system, *reaped = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        ticks += int(user) + int(system) + (sum(map(int, reaped)) if pid == first else 0)
    return ticks / os.sysconf("SC_CLK_TCK")


async def _rounds(runs: TurnwiseServer, tells: TurnwiseServer, turns: Sequence[tuple[str, str]], heard: Heard) -> None:
    loop = asyncio.get_running_loop()
    subscribers: list[Subscriber] = []
    for _, channel_id in turns:
        make = partial(Subscriber, channel_id, heard.late)
        subscribers.append((await loop.create_connection(make, "127.0.0.1", tells.port))[1])
    await asyncio.wait_for(asyncio.gather(*(each.listens for each in subscribers)), 30)
    requests = [
        post(
            f"/api/v1/conversation/{conversation_id}/dispatch",
            msgspec.json.encode({"text": TEXT, "channelId": channel_id}),
            HEADERS,
        )
        for conversation_id, channel_id in turns
    ]
    await asyncio.to_thread(run_load, runs.port, iter(requests), connections=4)
    await asyncio.wait_for(asyncio.gather(*(each.done for each in subscribers)), 10 * SECONDS)
    counted = {each.tokens for each in subscribers}
    assert counted == {SECONDS * PACE}, f"every turn says {SECONDS * PACE} tokens, but these came: {sorted(counted)}"
