"""What processes that share limits let through together, in time that a test makes pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.services.quick import quickly

from turnwise.server.errors import LimitsReached, Unavailable
from turnwise.server.services.meter import Meter
from turnwise.server.services.rates import Rates
from turnwise.server.services.use import SHARE, TURNS, Allowance
from turnwise.server.storage.base import Once, Storage, UsedTokens
from turnwise.server.storage.rates import PERIOD_MS, PERIODS, Others, Tally

EPOCH = 1_795_000_000
STALE_BY = 0.2
"""Seconds by which a process may misjudge the database's clock: a slow answer leaves no more."""


@dataclass
class Database:
    """Rates in memory, some way off."""

    processes: int = 1
    """So many have a lease once all are open. Each opens its rates before it has one."""
    delay: float = 0.005
    away: bool = False
    rows: dict[tuple[str, int, str], Tally] = field(default_factory=dict[tuple[str, int, str], Tally])
    exchanges: int = 0
    asked: set[str] = field(default_factory=set[str])

    @property
    def now(self) -> int:
        return int((EPOCH + asyncio.get_running_loop().time()) * 1000)

    async def _go(self) -> None:
        await asyncio.sleep(self.delay)
        if self.away:
            raise Unavailable("The database does not answer.")

    async def store_rates(self, process_id: str, tallies: Sequence[Tally]) -> None:
        self.exchanges += 1
        await self._go()
        self.rows |= {(tally.subject, tally.period, process_id): tally for tally in tallies}
        await self._go()

    async def find_rates(self, process_id: str, subjects: Sequence[str]) -> Others:
        await self._go()
        period = self.now // PERIOD_MS
        wanted = set(subjects)
        rows = [
            row
            for (subject, at, process), row in sorted(self.rows.items())
            if subject in wanted and process != process_id and period - PERIODS < at <= period + 1
        ]
        last = {
            (subject, process): row.turns
            for (subject, at, process), row in sorted(self.rows.items())
            if process != process_id and at >= period - 1
        }
        others = Others(
            now=self.now,
            processes=self.processes - (process_id not in self.asked),
            counted=_sums(rows),
            turns={subject: sum(turns for (each, _), turns in last.items() if each == subject) for subject, _ in last},
        )
        self.asked.add(process_id)
        await self._go()
        return others


def _sums(rows: Iterable[Tally]) -> list[Tally]:
    counts: dict[tuple[str, int], tuple[int, int, int]] = {}
    for row in rows:
        requests, messages, tokens = counts.get((row.subject, row.period), (0, 0, 0))
        sums = requests + row.requests, messages + row.messages, tokens + row.tokens
        counts[row.subject, row.period] = sums
    return [
        Tally(subject=subject, period=period, requests=requests, messages=messages, tokens=tokens)
        for (subject, period), (requests, messages, tokens) in counts.items()
    ]


names = count()


async def process(database: Database, *, skew: float = 0.0, session: Allowance | None = None, **limits: int) -> Rates:
    """A process, opened, with a clock of its own."""
    loop = asyncio.get_running_loop()
    rates = Rates(
        cast("Storage", database),
        account=Allowance(**limits),
        session=session or Allowance(),
        new_id=lambda: f"process{next(names)}",
        monotonic=lambda: loop.time() + skew,
    )
    await rates.open()
    return rates


async def goes_through(work: Awaitable[object]) -> bool:
    try:
        await work
    except LimitsReached:
        return False
    return True


Burst = tuple[int, int, float]
bursts = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60), st.floats(0, 20)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(limit=st.integers(1, 200), processes=st.integers(1, 4), delay=st.floats(0.0001, 0.1), plan=bursts)
def test_processes_exceed_a_limit_in_no_minute_by_more_than_is_promised(
    limit: int, processes: int, delay: float, plan: list[Burst]
) -> None:
    async def scenario() -> list[float]:
        database = Database(processes, delay)
        opened = [await process(database, skew=97.0 * number, requests=limit) for number in range(processes)]
        loop = asyncio.get_running_loop()
        moments: list[float] = []

        async def ask(rates: Rates) -> None:
            if await goes_through(Meter(rates, "someone").request()):
                moments.append(loop.time())

        asked: list[asyncio.Task[None]] = []
        for number, many, pause in plan:
            asked += [asyncio.create_task(ask(opened[number % processes])) for _ in range(many)]
            await asyncio.sleep(pause)
        await asyncio.gather(*asked)
        for rates in opened:
            await rates.close()
        return moments

    moments = sorted(quickly(scenario))
    promised = limit + (processes - 1) * max(1, limit // (SHARE * processes))
    for index, begin in enumerate(moments):
        within = sum(1 for moment in moments[index:] if moment - begin < 60 - STALE_BY)
        assert within <= promised
    assert len(moments) >= min(limit, sum(many for _, many, _ in plan)), "none is refused before the limit is reached"


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_what_is_let_through_at_once_exceeds_a_limit_by_an_eighth_at_most(processes: int) -> None:
    async def scenario() -> int:
        database = Database(processes)
        opened = [await process(database, requests=160) for _ in range(processes)]
        asked = [goes_through(Meter(rates, "someone").request()) for rates in opened for _ in range(160)]
        return sum(await asyncio.gather(*asked))

    assert 160 <= quickly(scenario) <= 180


def test_far_from_a_limit_requests_wait_for_no_exchange() -> None:
    async def scenario() -> tuple[int, float]:
        database = Database(processes=2)
        rates = await process(database, requests=100_000)
        begun = asyncio.get_running_loop().time()
        for _ in range(5000):
            await Meter(rates, "someone").request()
        return database.exchanges, asyncio.get_running_loop().time() - begun

    assert quickly(scenario) == (0, 0.0)


def test_a_process_that_is_alone_lets_the_whole_limit_through_without_asking() -> None:
    async def scenario() -> tuple[int, int]:
        database = Database()
        rates = await process(database, requests=100)
        let_through = [await goes_through(Meter(rates, "someone").request()) for _ in range(150)]
        return sum(let_through), database.exchanges

    assert quickly(scenario) == (100, 0)


def test_a_process_that_was_alone_notices_another_within_a_second_or_so() -> None:
    async def scenario() -> list[bool]:
        database = Database()
        one = await process(database, requests=100)
        for _ in range(60):
            await Meter(one, "someone").request()
        database.processes = 2
        two = await process(database, requests=100)
        await asyncio.sleep(1.5)
        return [await goes_through(Meter(two, "someone").request()) for _ in range(41)]

    let_through = quickly(scenario)
    assert let_through.count(True) == 40
    assert not let_through[-1]


def test_a_refusal_is_looked_at_again_once_it_rests_on_old_news() -> None:
    async def scenario() -> list[bool]:
        database = Database(processes=2)
        one, two = [await process(database, turns=1) for _ in range(2)]
        turn = await Meter(one, "someone").turn(None, messages=0)
        await asyncio.sleep(1.2)
        seen = [await goes_through(Meter(two, "someone").take((TURNS, 1)))]
        turn.end()
        await asyncio.sleep(1.2)
        seen.append(await goes_through(Meter(two, "someone").take((TURNS, 1))))
        return seen

    assert quickly(scenario) == [False, True]


def test_turns_of_a_process_that_died_stop_to_count_within_ten_seconds() -> None:
    async def scenario() -> list[bool]:
        database = Database(processes=2)
        one, two = [await process(database, turns=1) for _ in range(2)]
        await Meter(one, "someone").turn(None, messages=0)
        seen: list[bool] = []
        for seconds in (30, 1, 12):
            await asyncio.sleep(seconds)
            seen.append(await goes_through(Meter(two, "someone").take((TURNS, 1))))
            if seconds == 1:
                assert one._task is not None
                one._task.cancel()
        return seen

    assert quickly(scenario) == [False, False, True]


def test_tokens_count_for_the_session_token_and_for_its_account() -> None:
    async def scenario() -> tuple[bool, bool]:
        rates = await process(Database(), session=Allowance(tokens=10), tokens=1000)
        meter = Meter(rates, "someone", "token")
        meter.spent([UsedTokens(model="m", input_tokens=7, output_tokens=5, at=0)])
        return (
            await goes_through(meter.turn(None, messages=0)),
            await goes_through(Meter(rates, "someone", "other").turn(None, messages=0)),
        )

    assert quickly(scenario) == (False, True)


def test_what_one_limit_refuses_is_counted_by_no_other() -> None:
    async def scenario() -> list[bool]:
        rates = await process(Database(), session=Allowance(requests=1), requests=3)
        tries = [Meter(rates, "someone", token) for token in ("a", "a", "a", "b", "c", "d")]
        return [await goes_through(meter.request()) for meter in tries]

    assert quickly(scenario) == [True, False, False, True, True, False]


def test_while_the_database_is_away_a_process_goes_on_by_what_it_knows(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> int:
        database = Database(processes=2)
        rates = await process(database, requests=50)
        database.away = True
        let_through = [await goes_through(Meter(rates, "someone").request()) for _ in range(60)]
        await asyncio.sleep(10)
        database.away = False
        await asyncio.sleep(2)
        assert sum(row.requests for row in database.rows.values()) == 50
        return sum(let_through)

    assert quickly(scenario) == 50
    assert len([record for record in caplog.records if "without other processes" in record.message]) == 1


def test_the_databases_clock_counts_whatever_a_process_thinks_is_now() -> None:
    async def scenario() -> set[int]:
        database = Database(processes=2)
        for skew in (-300.0, 0.0, 86_400.0):
            await Meter(await process(database, skew=skew, requests=5), "someone").request()
        await asyncio.sleep(1.5)
        return {period for _, period, _ in database.rows}

    assert quickly(scenario) == {EPOCH * 1000 // PERIOD_MS}


def test_who_is_idle_is_forgotten() -> None:
    async def scenario() -> list[int]:
        rates = await process(Database(processes=2), session=Allowance(requests=5), requests=10**6)
        known: list[int] = []
        for minute in range(3):
            for number in range(500):
                await Meter(rates, "someone", f"token{minute}-{number}").request()
            await asyncio.sleep(90)
            known.append(len(rates._uses))
        return known

    assert quickly(scenario) == [0, 0, 0]


def test_what_was_counted_last_is_told_at_the_end() -> None:
    async def scenario() -> list[Tally]:
        database = Database()
        rates = await process(database, requests=5)
        await Meter(rates, "someone").request()
        await rates.close()
        return list(database.rows.values())

    assert [tally.requests for tally in quickly(scenario)] == [1]


def test_a_message_that_was_not_stored_is_not_counted() -> None:
    async def scenario() -> list[bool]:
        meter = Meter(await process(Database(), messages=1), "someone")

        async def store(once: Once | None) -> None:
            if once is None:
                raise Unavailable("The database does not answer.")

        for _ in range(3):
            with pytest.raises(Unavailable):
                await meter.storing(1, store)(None)
        once = Once(path="/", key="k", body=b"", now=0)
        return [await goes_through(meter.storing(1, store)(once))]

    assert quickly(scenario) == [True]


def test_a_session_is_counted_too_when_its_dispatch_waited_for_longer_than_limits_look_back() -> None:
    async def scenario() -> tuple[bool, list[int]]:
        database = Database()
        rates = await process(database, requests=1000, session=Allowance(turns=1))
        waits = Meter(rates, "someone", "token")
        await waits.dispatch(None, messages=1)
        for _ in range(80):  # others of the account ask meanwhile
            await Meter(rates, "someone").request()
            await asyncio.sleep(1)
        await Meter(rates, "someone").request()
        async with waits.room():
            another = await goes_through(Meter(rates, "someone", "token").turn(None, messages=1))
            await asyncio.sleep(6)
        await rates.close()
        return another, [period for _, period, _ in database.rows if period < 0]

    assert quickly(scenario) == (False, [])
