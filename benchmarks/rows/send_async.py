"""100 concurrent `send` of the async client, against bare aiohttp sending the same bytes and the Node client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import aiohttp

from benchmarks.measure import alternate, beside, beside_node
from benchmarks.node import NodeClient, missing_node
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtLeast, Line
from benchmarks.request import CONVERSATION, TEXT, recorded_request
from turnwise import AsyncConversationClient

ROW = "send, 100 at a time"
TOGETHER = 100
CALLS = 5000


def measure(options: Options) -> list[Line]:
    peer = missing_node()
    with ExitStack() as opened:
        mock = opened.enter_context(BenchmarkServer("mock"))
        contenders = {
            "ours": lambda: asyncio.run(_ours(mock.url)),
            "bare aiohttp": lambda: asyncio.run(_bare(mock.url)),
        }
        if peer is None:
            node = opened.enter_context(NodeClient(mock.url))
            peer = node.name
            contenders[peer] = lambda: node.send(CALLS, together=TOGETHER)
        samples = alternate(contenders, rounds=options.rounds)
    return [
        beside(samples, "bare aiohttp", row=ROW, unit="calls/s", bound=AtLeast(0.75)),
        beside_node(samples, peer, row=ROW, unit="calls/s", bound=AtLeast(2)),
    ]


async def _ours(url: str) -> float:
    async with AsyncConversationClient(secret="benchmark", base_url=url) as client:

        async def call() -> None:
            await client.send(CONVERSATION, text=TEXT)

        return await _per_second(call)


async def _bare(url: str) -> float:
    async with AsyncConversationClient(secret="benchmark", base_url=url) as client:
        await client.send(CONVERSATION, text=TEXT)
    request = recorded_request(url)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> None:
            async with session.post(request.url, data=request.body, headers=request.headers) as response:
                assert response.status == 200
                assert await response.read()

        return await _per_second(call)


async def _per_second(call: Callable[[], Awaitable[None]]) -> float:
    """Return the calls a second of `CALLS` calls, `TOGETHER` at a time. The connections are opened before."""
    await asyncio.gather(*(call() for _ in range(TOGETHER)))
    left = iter(range(CALLS))

    async def caller() -> None:
        for _ in left:
            await call()

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(TOGETHER)))
    return CALLS / (time.perf_counter() - begin)
