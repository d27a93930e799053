from __future__ import annotations

import asyncio

from tests.client.wire import answer, chunked, complete_call, send_call, wire

from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner
from turnwise._transport.aiohttp import AiohttpTransport

STREAM = chunked(b'{"type":"token","data":{"token":"a"}}\n' * 5, end=False)


def test_one_client_serves_one_loop_after_another() -> None:
    with wire(answer()) as server:
        runner = AsyncRunner(ClientOptions.of(base_url=server.url))

        async def use() -> None:
            results = await asyncio.gather(*(runner.run(send_call()) for _ in range(5)))
            assert {result.id for result in results} == {"m1"}

        for _ in range(3):
            asyncio.run(use())
        assert isinstance(runner.transport, AiohttpTransport)
        assert not runner.transport._sessions._open


def test_a_loop_that_ends_in_the_middle_of_a_stream_leaves_no_trace() -> None:
    with wire(STREAM) as server:
        runner = AsyncRunner(ClientOptions.of(base_url=server.url))

        async def peek() -> None:
            stream = runner.stream(complete_call())
            assert await anext(stream) is not None

        asyncio.run(peek())
        asyncio.run(peek())


def test_a_loop_closed_carelessly_is_forgotten() -> None:
    with wire(answer(connection="close")) as server:
        runner = AsyncRunner(ClientOptions.of(base_url=server.url))
        assert isinstance(runner.transport, AiohttpTransport)
        for _ in range(2):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(runner.run(send_call())).id == "m1"
            loop.close()
            assert len(runner.transport._sessions._open) == 1
        runner.transport._sessions.abandon()
        asyncio.run(_use_and_close(runner))


async def _use_and_close(runner: AsyncRunner) -> None:
    assert (await runner.run(send_call())).id == "m1"
    await runner.close()
