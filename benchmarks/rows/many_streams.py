"""300 streams at once, 50 tokens a second each, through one process: what that costs it, and how late tokens come.

The model server writes every token by itself, with the moment at which it does; a token's lateness is what then passes
until the client has it. The relay passes the same bytes on. Both are asked for all streams at once.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import cast

from benchmarks.completions import BODY, completions
from benchmarks.load import LAST_CHUNK, post
from benchmarks.measure import alternate
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer, Process
from benchmarks.report import AtMost, Figure, Line
from benchmarks.servers.paced import DIGITS, PACE
from benchmarks.servers.raw import run
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

STREAMS = 300
SECONDS, FULL_SECONDS = 8, 60
ROUNDS, FULL_ROUNDS = 3, 1
TOKEN = re.compile(rb'" (\d{%d})"' % DIGITS)
LONGEST_REST = DIGITS + 3
ROW = f"{STREAMS} streams of {PACE} tokens a second"


@dataclass(slots=True)
class Heard:
    """What all clients of a round heard."""

    late: list[float] = field(default_factory=list[float])
    """Seconds, of each token."""
    used: float = 0.0
    """CPU seconds of the server."""

    @property
    def last_percent(self) -> float:
        return quantiles(self.late, n=100)[-1]


def measure(options: Options) -> list[Line]:
    seconds, rounds = (FULL_SECONDS, FULL_ROUNDS) if options.full else (SECONDS, ROUNDS)
    heard: dict[str, list[Heard]] = {"ours": [], "relay": []}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        upstream = opened.enter_context(BenchmarkServer("paced", str(seconds)))
        relay = opened.enter_context(BenchmarkServer("relay", str(upstream.port)))
        server = opened.enter_context(TurnwiseServer(folder, upstream=upstream.url)).listening()

        def listen(name: str, process: Process, port: int, requests: list[bytes]) -> float:
            heard[name].append(_listen(process, port, requests, tokens=seconds * PACE))
            return heard[name][-1].used

        cpu = alternate(
            {
                "ours": lambda: listen("ours", server, server.port, completions(server, STREAMS)),
                "relay": lambda: listen("relay", relay, relay.port, [post("/relay", BODY, HEADERS)] * STREAMS),
            },
            rounds=rounds,
            warm=False,
        )
    late, relayed = (median(each.last_percent for each in heard[name]) * 1000 for name in ("ours", "relay"))
    return [
        Figure(
            row=f"{ROW}, {seconds} s: CPU / bare relay",
            ours=f"{cpu.median('ours') / seconds * 100:.0f} % of a core",
            other=f"relay {cpu.median('relay') / seconds * 100:.0f} %",
            value=cpu.ratio("ours", "relay"),
            bound=AtMost(1.5),
        ),
        Figure(
            row="the same: a token's lateness, 99th percentile",
            ours=f"{late:.0f} ms",
            other=f"relay {relayed:.0f} ms",
            value=late,
            unit="ms",
            bound=AtMost(100),
        ),
    ]


class Client(asyncio.Protocol):
    """One stream, from its request to its end."""

    def __init__(self, request: bytes, late: list[float]) -> None:
        self._request = request
        self._late = late
        self._rest = b""
        self.tokens = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the stream was cut"))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns() // 1000 % 10**DIGITS
        data = self._rest + data
        end = 0
        for token in TOKEN.finditer(data):
            self._late.append((now - int(token[1])) / 1e6)
            self.tokens += 1
            end = token.end()
        if data.endswith(LAST_CHUNK):
            self.done.set_result(None)
            self._transport.close()
        self._rest = data[max(end, len(data) - LONGEST_REST) :]


def _listen(process: Process, port: int, requests: list[bytes], *, tokens: int) -> Heard:
    heard = Heard()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        opening = [
            loop.create_connection(partial(Client, request, heard.late), "127.0.0.1", port) for request in requests
        ]
        clients = [client for _, client in await asyncio.gather(*opening)]
        await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), 10 * tokens / PACE)
        counted = {client.tokens for client in clients}
        assert counted == {tokens}, f"every stream has {tokens} tokens, but these came: {sorted(counted)}"

    before = process.cpu_seconds()
    run(main())
    heard.used = process.cpu_seconds() - before
    return heard
