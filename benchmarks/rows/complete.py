"""Stateful `complete`, streamed, over an upstream that says 50 tokens at once: what a turn costs the server.

The conversations are new ones with two exchanges in them already, and the requests are our client's: a secret, an
idempotency key, JSON lines. The relay reads the same upstream and passes its bytes on. CPU is the server process's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.load import Load, post, run_load
from benchmarks.measure import alternate, rate
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer, Process
from benchmarks.report import AtMost, Figure, Line
from benchmarks.request import TEXT
from benchmarks.servers.upstream import MODEL, TOKENS
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

ROW = f"complete, {TOKENS} tokens, 32 connections"
CONNECTIONS = 32
TURNS = 600
FIRST_TOKENS = 100
BODY = msgspec.json.encode({"text": TEXT})
FIRST_TOKEN = b"word0"
CREATED = msgspec.json.encode(
    {
        "model": MODEL,
        "backstory": "You answer for a small shop, in one or two sentences.",
        "messages": [
            {"type": "user", "text": "Hello, who are you?"},
            {"type": "bot", "text": "Hello! I answer questions about the shop."},
            {"type": "user", "text": "Where are you?"},
            {"type": "bot", "text": "On the market square, beside the fountain."},
        ],
    }
)


def measure(options: Options) -> list[Line]:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        upstream = opened.enter_context(BenchmarkServer("upstream"))
        relay = opened.enter_context(BenchmarkServer("relay", str(upstream.port)))
        server = opened.enter_context(TurnwiseServer(folder, upstream=upstream.url)).listening()
        keys = count()

        def turns(many: int) -> Iterator[bytes]:
            conversations = _conversations(server, many)
            for conversation in conversations:
                headers = {
                    **HEADERS,
                    "Accept": "application/jsonl",
                    "Idempotency-Key": f"benchmark-{next(keys):032}",
                }
                yield post(f"/api/v1/conversation/{conversation}/complete", BODY, headers)

        def ours() -> float:
            return _cpu(server, server.port, list(turns(TURNS)))

        def theirs() -> float:
            return _cpu(relay, relay.port, [post("/relay", BODY, HEADERS)] * TURNS)

        cpu = alternate({"ours": ours, "relay": theirs}, rounds=options.rounds)
        first = alternate(
            {
                "ours": lambda: _first_token(server.port, list(turns(FIRST_TOKENS))),
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


def _conversations(server: TurnwiseServer, many: int) -> list[str]:
    request = post("/api/v1/conversation/create", CREATED, HEADERS)
    load: Load = run_load(server.port, iter([request] * many), connections=CONNECTIONS, keep=True)
    return [msgspec.json.decode(body)["id"] for body in load.bodies]
