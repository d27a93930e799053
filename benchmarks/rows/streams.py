"""200 concurrent streams of 200 tokens, read by the async client and by the Node client.

Both keep their connections from one batch of streams to the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.measure import Samples, alternate, beside_node
from benchmarks.node import NodeClient, missing_node
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtLeast, Line
from turnwise import AsyncConversationClient

ROW = "200 streams of 200 tokens at a time"
TOGETHER = 200
BATCHES = 4
LINES = 208
"""200 tokens, and the eight other events of a completion."""


def measure(options: Options) -> list[Line]:
    peer = missing_node()
    with ExitStack() as opened:
        mock = opened.enter_context(BenchmarkServer("mock"))
        runner = opened.enter_context(asyncio.Runner())
        client = AsyncConversationClient(secret="benchmark", base_url=mock.url)
        opened.callback(lambda: runner.run(client.aclose()))
        contenders: dict[str, Callable[[str], float]] = {"ours": lambda each: runner.run(_ours(client, each))}
        if peer is None:
            node = opened.enter_context(NodeClient(mock.url))
            peer = node.name
            contenders[peer] = lambda each: node.read(each, together=TOGETHER, batches=BATCHES)

        def read(conversation: str) -> Samples:
            named = {name: partial(reads, conversation) for name, reads in contenders.items()}
            return alternate(named, rounds=options.rounds * 2)

        batches, single = read(f"batches-{LINES}"), read(f"single-{LINES}")
    return [
        beside_node(batches, peer, row=ROW, unit="lines/s", bound=AtLeast(1.5)),
        beside_node(single, peer, row="the same, an HTTP chunk for each line", unit="lines/s", bound=None),
    ]


async def _ours(client: AsyncConversationClient, conversation: str) -> float:
    async def read() -> int:
        lines = 0
        async with client.complete_stream(conversation, text="Hello") as stream:
            async for _ in stream:
                lines += 1
        return lines

    begin = time.perf_counter()
    lines = sum([sum(await asyncio.gather(*(read() for _ in range(TOGETHER)))) for _ in range(BATCHES)])
    taken = time.perf_counter() - begin
    assert lines == BATCHES * TOGETHER * LINES
    return lines / taken
