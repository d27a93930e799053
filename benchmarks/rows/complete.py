"""Stateful `complete`, streamed, over an upstream that says 50 tokens at once: what a turn costs the server.

The conversations are new ones with two exchanges in them already, and the requests are our client's: a secret, an
idempotency key, JSON lines. The relay reads the same upstream and passes its bytes on; the server that does not journal
is ours in everything else. CPU is the server process's own.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.completions import BODY, completions
from benchmarks.load import post, run_load
from benchmarks.measure import alternate, rate
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer, Process
from benchmarks.report import AtMost, Figure, Line
from benchmarks.servers.upstream import TOKENS
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

ROW = f"complete, {TOKENS} tokens, 32 connections"
CONNECTIONS = 32
TURNS = 600
FIRST_TOKENS = 100
FIRST_TOKEN = b"word0"


def measure(options: Options) -> list[Line]:
    with ExitStack() as opened:
        upstream = opened.enter_context(BenchmarkServer("upstream"))
        relay = opened.enter_context(BenchmarkServer("relay", str(upstream.port)))

        def served(program: str) -> TurnwiseServer:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            return opened.enter_context(TurnwiseServer(folder, upstream=upstream.url, program=program)).listening()

        server, unjournaled = served("turnwise"), served("benchmarks.servers.unjournaled")
        cpu = alternate(
            {
                "ours": lambda: _cpu(server, server.port, completions(server, TURNS)),
                "relay": lambda: _cpu(relay, relay.port, [post("/relay", BODY, HEADERS)] * TURNS),
                "unjournaled": lambda: _cpu(unjournaled, unjournaled.port, completions(unjournaled, TURNS)),
            },
            rounds=options.rounds,
        )
        first = alternate(
            {
                "ours": lambda: _first_token(server.port, completions(server, FIRST_TOKENS)),
                "upstream": lambda: _first_token(
                    upstream.port, [post("/v1/chat/completions", BODY, {})] * FIRST_TOKENS
                ),
            },
            rounds=3,
        )
    turn, relayed = cpu.median("ours"), cpu.median("relay")
    later = first.median("ours") - first.median("upstream")
    return [
        Figure(
            row=f"{ROW}: CPU a turn / bare relay",
            ours=f"{turn * 1000:.2f} ms",
            other=f"relay {relayed * 1000:.2f} ms",
            value=cpu.ratio("ours", "relay"),
            bound=AtMost(2),
        ),
        Figure(
            row=f"{ROW}: CPU a turn / without a journal",
            ours=f"{turn * 1000:.2f} ms",
            other=f"without {cpu.median('unjournaled') * 1000:.2f} ms",
            value=cpu.ratio("ours", "unjournaled"),
            bound=AtMost(1.25),
        ),
        Figure(
            row=f"{ROW}: turns a second a core",
            ours=rate(1 / turn, "turns/s"),
            other=f"relay {rate(1 / relayed, 'turns/s')}",
            value=1 / turn,
            unit="turns/s",
        ),
        Figure(
            row="complete: first token, later than from the upstream",
            ours=f"{first.median('ours') * 1000:.2f} ms",
            other=f"upstream {first.median('upstream') * 1000:.2f} ms",
            value=later * 1000,
            unit="ms",
            bound=AtMost(3),
        ),
    ]


def _cpu(process: Process, port: int, requests: list[bytes]) -> float:
    """CPU seconds of the process a request."""
    begin = process.cpu_seconds()
    run_load(port, iter(requests), connections=CONNECTIONS, marker=FIRST_TOKEN)
    return (process.cpu_seconds() - begin) / len(requests)


def _first_token(port: int, requests: list[bytes]) -> float:
    return median(run_load(port, iter(requests), marker=FIRST_TOKEN).latencies)
