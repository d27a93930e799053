"""Requests for completions of a server under load, each in a new conversation."""

from __future__ import annotations

from itertools import count

import msgspec

from benchmarks.load import Load, post, run_load
from benchmarks.request import TEXT
from benchmarks.servers.upstream import MODEL
from benchmarks.turnwise_server import HEADERS, TurnwiseServer

__all__ = ["BODY", "STREAMED", "completions", "conversations"]

BODY = msgspec.json.encode({"text": TEXT})
STREAMED = {**HEADERS, "Accept": "application/jsonl"}
MAKERS = 32
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
keys = count()


def conversations(server: TurnwiseServer, many: int) -> list[str]:
    """Create conversations with two exchanges in them; return their ids."""
    request = post("/api/v1/conversation/create", CREATED, HEADERS)
    load: Load = run_load(server.port, iter([request] * many), connections=MAKERS, keep=True)
    return [msgspec.json.decode(body)["id"] for body in load.bodies]


def completions(server: TurnwiseServer, many: int) -> list[bytes]:
    """Return requests as our client sends them: with a secret and an idempotency key, for JSON lines."""
    return [
        post(
            f"/api/v1/conversation/{conversation}/complete",
            BODY,
            {**STREAMED, "Idempotency-Key": f"benchmark-{next(keys):032}"},
        )
        for conversation in conversations(server, many)
    ]
