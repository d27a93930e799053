"""The contract of counts that processes share."""

from __future__ import annotations

from dataclasses import replace

from tests.server.storage.scene import Scene

from turnwise.server.storage.rates import PERIOD_MS, PERIODS, Tally


async def period_of(scene: Scene) -> int:
    """The period that runs, on the database's clock."""
    return (await scene.storage.find_rates("reader", [])).now // PERIOD_MS


async def test_a_process_reads_what_all_others_counted_by_subject_and_period(scene: Scene) -> None:
    period = await period_of(scene)
    older, newer = (
        Tally(subject="a", period=period - 1, requests=3, messages=2, tokens=70),
        Tally(subject="a", period=period, requests=5),
    )
    other = Tally(subject="b", period=period, requests=11)
    await scene.storage.store_rates("one", [older, newer, other])
    await scene.storage.store_rates("two", [replace(newer, requests=1, tokens=4)])
    others = await scene.storage.find_rates("three", ["a"])
    assert sorted(others.counted, key=lambda each: each.period) == [older, replace(newer, requests=6, tokens=4)]
    assert (await scene.storage.find_rates("one", ["a"])).counted == [replace(newer, requests=1, tokens=4)]
    assert (await scene.storage.find_rates("three", ["c"])).counted == []


async def test_what_a_process_says_anew_takes_the_place_of_what_it_said(scene: Scene) -> None:
    tally = Tally(subject="a", period=await period_of(scene), requests=3, messages=1, tokens=9, turns=2)
    for counted in (tally, tally, replace(tally, requests=4, turns=0)):
        await scene.storage.store_rates("one", [counted])
    others = await scene.storage.find_rates("two", ["a"])
    assert others.counted == [replace(tally, requests=4, turns=0)]
    assert others.turns == {"a": 0}


async def test_turns_are_what_each_process_said_last_and_of_silent_ones_nothing(scene: Scene) -> None:
    period = await period_of(scene)
    for process, said in {"one": {0: 3}, "two": {-1: 7, 0: 1}, "late": {-1: 5}, "dead": {-3: 20}}.items():
        tallies = [Tally(subject="a", period=period + ago, turns=turns) for ago, turns in said.items()]
        await scene.storage.store_rates(process, tallies)
    assert (await scene.storage.find_rates("me", ["a"])).turns == {"a": 3 + 1 + 5}


async def test_periods_that_ended_a_minute_ago_do_not_count(scene: Scene) -> None:
    period = await period_of(scene)
    tallies = [Tally(subject="a", period=period - ago, requests=1) for ago in range(PERIODS + 3)]
    await scene.storage.store_rates("one", tallies)
    counted = (await scene.storage.find_rates("two", ["a"])).counted
    oldest = min(each.period for each in counted)
    assert 0 <= oldest - (period - PERIODS + 1) <= 1  # the next period may have begun meanwhile


async def test_the_servers_that_are_alive_are_counted(scene: Scene) -> None:
    assert (await scene.storage.find_rates("me", [])).processes == 0
    for process, lease_ms in (("me", 60_000), ("you", 60_000), ("dead", 0)):
        await scene.storage.register_process(process, lease_ms=lease_ms)
    assert (await scene.storage.find_rates("me", [])).processes == 2


async def test_old_counts_leave_the_disk_and_new_ones_stay_whatever_the_process_thinks_is_now(scene: Scene) -> None:
    period = await period_of(scene)
    kept = Tally(subject="a", period=period, requests=1)
    await scene.storage.store_rates("one", [kept, *(replace(kept, period=period - 100 - ago) for ago in range(7))])
    assert await scene.storage.purge(now=scene.clock.now + 10 * 60_000, limit=5) == 5
    assert await scene.storage.purge(now=scene.clock.now, limit=5) == 2
    assert await scene.storage.purge(now=scene.clock.now) == 0
    assert (await scene.storage.find_rates("two", ["a"])).counted == [kept]
