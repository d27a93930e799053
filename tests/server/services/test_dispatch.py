from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from turnwise.server.errors import BadRequest
from turnwise.server.services.dispatch import Slots, check_dispatch_channel
from turnwise.types._base import OMIT


class Work:
    """Counts who has a slot."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.running: Counter[str] = Counter()
        self.began: list[str] = []
        self.go_on = asyncio.Event()

    def start(self, account: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._work(account))

    async def _work(self, account: str) -> None:
        async with self.slots.one_of(account):
            self.running[account] += 1
            self.began.append(account)
            try:
                await self.go_on.wait()
            finally:
                self.running[account] -= 1


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_run_at_once_than_the_account_and_the_process_may() -> None:
    work = Work(Slots(3, 2))
    tasks = [work.start(account) for account in ("a", "a", "a", "a", "b", "b", "b")]
    await settled()
    assert work.running == {"a": 2, "b": 1}
    work.go_on.set()
    await asyncio.gather(*tasks)
    assert work.running == {"a": 0, "b": 0}


async def test_an_account_that_waits_for_its_own_turns_holds_no_slot_of_the_process() -> None:
    work = Work(Slots(2, 1))
    tasks = [work.start(account) for account in ("a", "a", "a", "b")]
    await settled()
    assert work.running == {"a": 1, "b": 1}
    work.go_on.set()
    await asyncio.gather(*tasks)


async def test_accounts_that_wait_are_served_in_turn_however_much_one_of_them_asks_for() -> None:
    work = Work(Slots(1, 10))
    tasks = [work.start(account) for account in "aaaaaabbc"]
    await settled()
    work.go_on.set()
    await asyncio.gather(*tasks)
    assert "".join(work.began) == "aabcabaaa"


async def test_room_that_nobody_here_waits_for_is_told() -> None:
    freed: list[int] = []
    slots = Slots(2, 1)
    slots.freed = lambda: freed.append(slots.free)
    work = Work(slots)
    first, _ = work.start("a"), work.start("a")
    await settled()
    assert (slots.free, freed) == (1, [])
    first.cancel()
    await settled()
    assert (slots.free, freed) == (1, [1])
    work.go_on.set()
    await settled()
    assert (slots.free, freed) == (2, [1, 2])


async def test_a_slot_is_free_again_however_its_turn_ended_and_nothing_is_kept_of_an_idle_account() -> None:
    work = Work(Slots(1, 1))
    running, waiting, next_one = (work.start("a") for _ in range(3))
    await settled()
    waiting.cancel()
    running.cancel()
    await settled()
    assert work.running == {"a": 1}
    next_one.cancel()
    await settled()
    assert (work.slots._lines, work.slots._running, work.slots.free) == ({}, {}, 1)


async def test_turns_that_end_all_at_once_give_their_slots_to_none_of_those_that_waited() -> None:
    work = Work(Slots(2, 2))
    tasks = [work.start(account) for account in "aabaabb"]
    await settled()
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError] * 7
    assert (work.slots._lines, work.slots._running, work.slots.free) == ({}, {}, 2)
    assert work.began == ["a", "a"]


@pytest.mark.parametrize("length", [24, 255])
def test_a_channel_of_a_dispatch_may_have_so_many_characters(length: int) -> None:
    check_dispatch_channel("c" * length)
    check_dispatch_channel(None)
    check_dispatch_channel(OMIT)


@pytest.mark.parametrize("length", [0, 23, 256])
def test_a_channel_that_is_too_easily_anothers_is_refused(length: int) -> None:
    with pytest.raises(BadRequest, match=f"24 to 255 characters.*this one has {length}"):
        check_dispatch_channel("c" * length)
