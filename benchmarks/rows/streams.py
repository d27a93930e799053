"""200 concurrent streams of 200 tokens, read by the async client and by the Node client."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

from benchmarks.measure import alternate, beside_node
from benchmarks.node import NodeClient, missing_node
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtLeast, Line
from turnwise import AsyncConversationClient

ROW = "200 streams of 200 tokens at a time"
TOGETHER = 200
CONVERSATION = "tokens-208"
"""200 tokens, and the eight other events of a completion."""


def measure(options: Options) -> list[Line]:
    without_node = missing_node()
    with ExitStack() as opened:
        mock = opened.enter_context(BenchmarkServer("mock"))
        contenders = {"ours": lambda: asyncio.run(_ours(mock.url))}
        if without_node is None:
            node = opened.enter_context(NodeClient(mock.url))
            contenders["Node client"] = lambda: node.read(CONVERSATION, together=TOGETHER)
        samples = alternate(contenders, rounds=options.rounds)
    return [beside_node(samples, without_node, row=ROW, unit="lines/s", bound=AtLeast(1.5))]


async def _ours(url: str) -> float:
    async with AsyncConversationClient(secret="benchmark", base_url=url) as client:

        async def read() -> int:
            lines = 0
            async with client.complete_stream(CONVERSATION, text="Hello") as stream:
                async for _ in stream:
                    lines += 1
            return lines

        begin = time.perf_counter()
        lines = sum(await asyncio.gather(*(read() for _ in range(TOGETHER))))
        taken = time.perf_counter() - begin
    assert lines == TOGETHER * 208
    return lines / taken
