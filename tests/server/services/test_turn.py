from __future__ import annotations

import asyncio

from tests.stalls import Stalls

from turnwise.server.errors import Unavailable
from turnwise.server.services.turn import Turn
from turnwise.types.event import CompleteBeginEvent, CompleteEndEvent


async def test_a_reader_is_woken_by_new_events_and_by_the_end() -> None:
    turn = Turn()
    waiting = asyncio.create_task(turn.more(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    turn.emit([CompleteBeginEvent()])
    assert await asyncio.wait_for(waiting, 60)
    ending = asyncio.create_task(turn.more(1))
    await asyncio.sleep(0)
    turn.finish(failure=Unavailable("gone"))
    assert await asyncio.wait_for(ending, 60)
    assert turn.done


async def test_a_late_reader_sees_everything_at_once() -> None:
    turn = Turn()
    turn.emit([CompleteBeginEvent(), CompleteEndEvent()])
    assert await turn.more(0)
    assert await turn.more(1)
    assert len(turn.events) == 2


async def test_waiting_ends_after_its_timeout() -> None:
    turn = Turn()
    assert not await turn.more(0, timeout=0.01)
    assert not turn._waiting


async def test_an_end_in_the_moment_in_which_a_wait_is_over_is_seen() -> None:
    turn = Turn()
    waiting = asyncio.create_task(turn.more(0, timeout=60))
    await asyncio.sleep(0)
    for waiter in turn._waiting:
        waiter.set_result(False)
    turn.finish(failure=Unavailable("gone"))
    assert await waiting


async def test_a_wait_is_over_in_its_own_time_beside_longer_ones_and_after_events(stalls: Stalls) -> None:
    turn = Turn()
    longer = asyncio.create_task(turn.more(0, timeout=60))
    await asyncio.sleep(0)
    assert not await turn.more(0, timeout=0.01)
    assert not longer.done()
    turn.emit([CompleteBeginEvent(created_at=1)])
    assert await longer
    begun = asyncio.get_running_loop().time()
    assert not await turn.more(1, timeout=0.15)
    assert 0.14 < asyncio.get_running_loop().time() - begun < 1 + stalls.allowance


async def test_the_last_reader_that_goes_aborts_the_work_and_not_the_first() -> None:
    turn, ended = Turn(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = turn.start(work())
    turn.attach()
    turn.attach()
    await asyncio.sleep(0)
    turn.release()
    await asyncio.sleep(0)
    assert not ended.is_set()
    turn.release()
    await asyncio.wait([task], timeout=60)
    assert ended.is_set()
    assert turn.abort_reason == "the client went away"


async def test_an_abort_comes_too_late_once_the_end_is_being_written() -> None:
    turn, release = Turn(), asyncio.Event()

    async def work() -> None:
        turn.settle()
        await release.wait()

    task = turn.start(work())
    turn.attach()
    await asyncio.sleep(0)
    turn.release()
    release.set()
    await asyncio.wait_for(task, 60)
    assert turn.abort_reason is None


async def test_an_abort_before_the_first_step_reaches_the_work() -> None:
    turn, ended = Turn(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = turn.start(work())
    turn.abort("at once")
    await asyncio.wait([task], timeout=60)
    assert ended.is_set()
    assert task.cancelled()


async def test_what_could_not_be_stored_is_not_told_with_what_could() -> None:
    turn = Turn()
    turn.hold([CompleteBeginEvent()])
    turn.hold([CompleteEndEvent()])
    turn.tell()
    assert [type(event) for event in turn.events] == [CompleteEndEvent]
