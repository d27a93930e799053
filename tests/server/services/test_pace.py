from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import wraps

from tests.server.services.quick import quickly

from turnwise.server.services.pace import Pace


def in_time_of_its_own(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Let a test see seconds that no busy machine makes longer."""

    @wraps(test)
    def run() -> None:
        quickly(test)

    return run


@in_time_of_its_own
async def test_a_few_turns_never_wait() -> None:
    pace = Pace(crowd=3, a_turn=60, longest=60)
    with pace.running(), pace.running():
        await asyncio.wait_for(pace.step(), 1)


@in_time_of_its_own
async def test_many_turns_go_on_together() -> None:
    pace = Pace(crowd=3, a_turn=60, longest=0.05)
    with ExitStack() as turns:
        for _ in range(3):
            turns.enter_context(pace.running())
        begin = asyncio.get_running_loop().time()
        first = asyncio.create_task(pace.step())
        await asyncio.sleep(0.02)
        second = asyncio.create_task(pace.step())
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert first.done()
        assert second.done()
        assert asyncio.get_running_loop().time() - begin >= 0.04
        await asyncio.wait_for(pace.step(), 1)


@in_time_of_its_own
async def test_a_turn_that_is_cancelled_meanwhile_holds_nobody_up() -> None:
    pace = Pace(crowd=1, a_turn=0.01)
    with pace.running():
        gone, waiting = asyncio.create_task(pace.step()), asyncio.create_task(pace.step())
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(waiting, 1)
        assert gone.cancelled()


@in_time_of_its_own
async def test_a_crowd_that_has_left_is_forgotten() -> None:
    pace = Pace(crowd=2, a_turn=60, longest=60)
    with pace.running():
        with pace.running():
            pass
        await asyncio.wait_for(pace.step(), 1)


@in_time_of_its_own
async def test_a_step_is_as_long_as_the_crowd_is_large() -> None:
    pace, took = Pace(crowd=1, a_turn=0.02, longest=1), list[float]()
    with ExitStack() as turns:
        for _ in range(2):
            turns.enter_context(pace.running())
            begin = asyncio.get_running_loop().time()
            await pace.step()
            took.append(asyncio.get_running_loop().time() - begin)
    assert took[0] < took[1]
