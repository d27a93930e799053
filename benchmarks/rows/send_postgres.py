"""`POST send` at 64 connections over PostgreSQL: `turnwise serve` against grouped inserts without any server.

PostgreSQL runs on the same machine, is reached over the loopback, and waits for the disk at every commit. Our server is
asked as our client asks, with a secret and a new idempotency key each time, in 64 conversations. The floor
(`servers/insert_floor.py`) stores the same rows in a database beside, in groups, with neither HTTP nor any checks: each
group a transaction of plain statements. What a single statement a group can do is there for information.

Then two processes on one database are set against one, each with half of the connections. A second process can only
help where it has somewhere to run: where less than a core was idle while one process was under load, each is held to a
part of a core (`quota`), which the line says; where that cannot be either, the figure is left out.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import msgspec
import urllib3
from tests.server.postgres import PostgresServer

from benchmarks.load import post, run_load
from benchmarks.measure import alternate, beside, rate
from benchmarks.options import Options
from benchmarks.postgres import MISSING, postgres_server
from benchmarks.processes import Process, idle_seconds
from benchmarks.quota import held
from benchmarks.report import AtLeast, Figure, Line, Skipped, note
from benchmarks.request import TEXT
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

ROW = "POST send, 64 connections, PostgreSQL"
PLAIN = "asyncpg, grouped inserts"
SINGLE = "asyncpg, one statement a group"
CONNECTIONS = 64
SHARE = 0.3
"""Of a core, where two processes have no core each. PostgreSQL and the load need the rest of two."""
REQUESTS = 6000
BODY = msgspec.json.encode({"text": TEXT})

KEYS = count()


def measure(options: Options) -> list[Line]:
    with postgres_server() as postgres:
        if postgres is None:
            return [Skipped(ROW, MISSING)]
        note(
            f"{_free_cores():.1f} of {os.cpu_count()} cores were free when it began: load, server and PostgreSQL need 2"
        )
        return [*_one_process(postgres, options), *_two_processes(postgres, options)]


def _one_process(postgres: PostgresServer, options: Options) -> list[Line]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        server = opened.enter_context(TurnwiseServer(folder, database=postgres.database())).listening()
        conversations = _conversations(server)
        beside_it = postgres.database()
        with TurnwiseServer(folder, database=beside_it).listening() as maker:
            known = _conversations(maker)
        floor = opened.enter_context(
            Process([sys.executable, "-m", "benchmarks.servers.insert_floor", beside_it, *known])
        )
        floor.read_line()
        cpu: list[float] = []

        def ours() -> float:
            begin = server.cpu_seconds()
            done = run_load(server.port, _requests(conversations), connections=CONNECTIONS).per_second
            cpu.append((server.cpu_seconds() - begin) / REQUESTS)
            return done

        def theirs(way: str) -> float:
            floor.write_line(f"{way} {REQUESTS}")
            return REQUESTS / float(floor.read_line())

        samples = alternate(
            {"ours": ours, PLAIN: lambda: theirs("plain"), SINGLE: lambda: theirs("single")}, rounds=options.rounds
        )
    used = sorted(cpu)[len(cpu) // 2] * 1e6
    return [
        beside(samples, PLAIN, row=ROW, unit="req/s", bound=AtLeast(0.4)),
        beside(samples, SINGLE, row=ROW, unit="req/s", bound=None),
        Figure(row=f"{ROW}: CPU of the server", ours=f"{used:.0f} us", value=used, unit="us"),
    ]


def _two_processes(postgres: PostgresServer, options: Options) -> list[Line]:
    row = f"{ROW}: two processes / one"
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        database = postgres.database()
        servers = [opened.enter_context(TurnwiseServer(folder, database=database)).listening() for folder in folders]
        conversations = _conversations(servers[0])
        idle: list[float] = []

        def one() -> float:
            before = idle_seconds()
            done = run_load(servers[0].port, _requests(conversations), connections=CONNECTIONS)
            idle.append((idle_seconds() - before) / done.seconds)
            return done.per_second

        def two() -> float:
            ports = [server.port for server in servers]
            return run_load(ports, _requests(conversations), connections=CONNECTIONS).per_second

        samples = alternate({"two": two, "one": one}, rounds=options.rounds)
        free = sorted(idle)[len(idle) // 2]
        if free < 1:
            note(_nowhere_to_run(samples.ratio("two", "one"), free))
            if not opened.enter_context(held(servers, SHARE)):
                return [Skipped(row, f"{free:.2f} of a core was idle beside one, and control groups cannot be changed")]
            row = f"{row}, each held to {SHARE:g} of a core"
            samples = alternate({"two": two, "one": one}, rounds=options.rounds)
    return [
        Figure(
            row=row,
            ours=rate(samples.median("two"), "req/s"),
            other=f"one {rate(samples.median('one'), 'req/s')}",
            value=samples.ratio("two", "one"),
            bound=AtLeast(1.6),
        )
    ]


def _free_cores() -> float:
    before, begin = idle_seconds(), time.perf_counter()
    time.sleep(1)
    return (idle_seconds() - before) / (time.perf_counter() - begin)


def _nowhere_to_run(ratio: float, free: float) -> str:
    return (
        f"{free:.2f} of a core was idle while one process was under load, which the load itself and PostgreSQL share "
        f"with it: a second whole one has nowhere to run ({ratio:.2f} x)"
    )


def _requests(conversations: Sequence[str]) -> Iterator[bytes]:
    """Make all requests before the load begins: the cores are the server's then."""
    return iter([_request(conversations[number % len(conversations)]) for number in range(REQUESTS)])


def _request(conversation: str) -> bytes:
    headers = {**HEADERS, "Accept": "application/json", "Idempotency-Key": f"benchmark-{next(KEYS):032}"}
    return post(f"/api/v1/conversation/{conversation}/send", BODY, headers)


def _conversations(server: TurnwiseServer) -> list[str]:
    made: list[str] = []
    for _ in range(CONNECTIONS):
        answer = urllib3.request("POST", f"{server.url}/api/v1/conversation/create", headers=HEADERS, json={})
        assert answer.status == 200, answer.data
        made.append(answer.json()["id"])
    return made
