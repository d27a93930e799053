"""`POST send` at 64 connections: `turnwise serve` against bare HTTP over the same group commit.

Both are asked as our client asks, with a secret and a new idempotency key each time, in 64 conversations. Each
process writes to a database of its own in the same folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import msgspec
import urllib3

from benchmarks.load import post, run_load
from benchmarks.measure import alternate, beside
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer, Process
from benchmarks.report import AtLeast, Figure, Line
from benchmarks.request import TEXT
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

ROW = "POST send, 64 connections"
CONNECTIONS = 64
REQUESTS = 4000
BODY = msgspec.json.encode({"text": TEXT})


def measure(options: Options) -> list[Line]:
    keys = count()

    def requests(conversations: list[str]) -> Iterator[bytes]:
        for number in range(REQUESTS):
            headers = {**HEADERS, "Accept": "application/json", "Idempotency-Key": f"benchmark-{next(keys):032}"}
            path = f"/api/v1/conversation/{conversations[number % CONNECTIONS]}/send"
            yield post(path, BODY, headers)

    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        server = opened.enter_context(TurnwiseServer(folder)).listening()
        floor = opened.enter_context(BenchmarkServer("send_floor", str(folder / "floor.db"), str(CONNECTIONS)))
        stored = _conversations(server)
        known = [f"c{number:04d}" for number in range(CONNECTIONS)]
        cpu: dict[str, list[float]] = {"ours": [], "floor": []}

        def load(name: str, process: Process, port: int, conversations: list[str]) -> float:
            begin = process.cpu_seconds()
            done = run_load(port, requests(conversations), connections=CONNECTIONS)
            cpu[name].append((process.cpu_seconds() - begin) / REQUESTS)
            return done.per_second

        samples = alternate(
            {
                "ours": lambda: load("ours", server, server.port, stored),
                "bare asyncio": lambda: load("floor", floor, floor.port, known),
            },
            rounds=options.rounds,
        )
    ours, theirs = (sorted(values)[len(values) // 2] * 1e6 for values in cpu.values())
    return [
        beside(samples, "bare asyncio", row=ROW, unit="req/s", bound=AtLeast(0.5)),
        Figure(
            row=f"{ROW}: CPU / bare asyncio",
            ours=f"{ours:.0f} us",
            other=f"bare asyncio {theirs:.0f} us",
            value=ours / theirs,
        ),
    ]


def _conversations(server: TurnwiseServer) -> list[str]:
    made: list[str] = []
    for _ in range(CONNECTIONS):
        answer = urllib3.request("POST", f"{server.url}/api/v1/conversation/create", headers=HEADERS, json={})
        assert answer.status == 200, answer.data
        made.append(answer.json()["id"])
    return made
