from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Callable

import pytest
from tests.client.wire import answer, send_call, wire

from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner, SyncRunner

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_child(work: Callable[[], None]) -> int:
    """Do `work` in a forked process, as a prefork server does, and return its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - nothing of the test may go on in the child
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_workers_make_connections_of_their_own() -> None:
    with wire(answer()) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        assert runner.run(send_call()).id == "m1"

        def work() -> None:
            for _ in range(3):
                assert runner.run(send_call()).id == "m1"
            runner.close()

        assert [in_child(work) for _ in range(3)] == [0, 0, 0]
        work()
        assert server.connections == 4
        assert len(server.requests) == 1 + 3 * 4


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_of_multiprocessing_use_the_client_they_inherit() -> None:
    with wire(answer()) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        assert runner.run(send_call()).id == "m1"
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_send_once, args=(runner,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
        assert [worker.exitcode for worker in workers] == [0, 0]
        assert runner.run(send_call()).id == "m1"
        assert server.connections == 3
        runner.close()


def _send_once(runner: SyncRunner) -> None:
    assert runner.run(send_call()).id == "m1"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_async_client_works_in_forked_workers_and_in_the_parent_after() -> None:
    with wire(answer()) as server:
        runner = AsyncRunner(ClientOptions.of(base_url=server.url))

        async def use() -> str:
            return (await runner.run(send_call())).id

        def work() -> None:
            # The parent's loop runs in the child's copy of memory: a loop of its own must not touch its sessions.
            asyncio.events._set_running_loop(None)
            assert asyncio.new_event_loop().run_until_complete(use()) == "m1"

        async def fork_amid() -> None:
            assert await use() == "m1"
            assert in_child(work) == 0
            assert await use() == "m1"

        asyncio.run(fork_amid())
        assert in_child(work) == 0
        assert asyncio.run(use()) == "m1"


async def test_a_fork_leaves_the_parents_sessions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from turnwise._transport import aiohttp as over_aiohttp

    with wire(answer()) as server:
        transport = over_aiohttp.AiohttpTransport()
        sessions = transport._sessions
        session = await sessions.current()
        monkeypatch.setattr(sessions, "_process", -1)
        own = await sessions.current()
        assert own is not session
        assert not session.closed
        await session.close()
        await transport.aclose()
        over_aiohttp._left_to_the_parent.clear()
        assert server.connections == 0
