"""Several server processes on one PostgreSQL: whatever befalls one of them, or the database, no turn is lost.

As in test_turns.py, whose checks these are, with processes that share a database as hosts do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.crash.process import SECRET, ServerProcess
from tests.crash.proxy import Dice, Proxy
from tests.crash.scene import CALM, CAREFUL, FULL, LEASE_MS, SETTLED_WITHIN, SHORT_LEASE_MS, Scene, mutant, scene
from tests.crash.task import Task
from tests.crash.test_background import published
from tests.crash.test_turns import (
    SLOW_TO_CALL,
    again,
    check_completed,
    check_dispatched,
    check_kept,
    check_unlocked,
    later,
    one_dies,
    one_sleeps,
)
from tests.crash.worker import Pace
from tests.server.postgres import PostgresServer, own_server

from turnwise import AsyncTurnwise, ServiceUnavailableError

# Leases of three seconds lapse in a stall, and turns of living processes go on elsewhere.
pytestmark = [pytest.mark.slow, pytest.mark.forgives_stalls]

logger = logging.getLogger(__name__)

EACH = 200 if FULL else 15
ROUNDS = 5 if FULL else 1


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server that may be stopped and started again."""
    with own_server() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """An empty database."""
    return postgres.database()


def at(server: ServerProcess) -> AsyncTurnwise:
    """Return a client of one process."""
    return AsyncTurnwise(secret=SECRET, base_url=server.url)


async def ways_to(servers: Sequence[ServerProcess], stack: AsyncExitStack) -> tuple[list[Proxy], list[AsyncTurnwise]]:
    """Return a way to each process, which may lead elsewhere when that dies, and a client by each way."""
    ways = [await stack.enter_async_context(Proxy()) for _ in servers]
    for way, server in zip(ways, servers, strict=True):
        way.ports = [server.port]
    made = [AsyncTurnwise(secret=SECRET, base_url=way.url) for way in ways]
    return ways, [await stack.enter_async_context(client) for client in made]


async def speaks(tasks: Sequence[Task]) -> None:
    """Wait until the bot says something in one of these, or has said all."""
    async with asyncio.timeout(60):
        while not any(task.tokens for task in tasks):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


# Processes die and freeze


@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("count", [2, 3])
async def test_processes_that_are_killed_at_random_moments_leave_their_turns_to_the_others(
    tmp_path: Path, url: str, count: int, number: int
) -> None:
    dice = Dice(10 * count + number)
    async with scene(tmp_path, Pace(delay=0.1 if FULL else 0.07), url=url) as stage, AsyncExitStack() as stack:
        servers = await asyncio.gather(*(stage.serve() for _ in range(count)))
        stage.lead_to(servers[0])
        tasks = await stage.tasks(2 * EACH)
        dispatched, completed = tasks[:EACH], tasks[EACH:]
        spread = stage.worker.pace.seconds
        ways, clients = await ways_to(servers, stack)
        stage.start(
            *(
                later(dice.uniform(0, spread / 2), task, clients[task.number % count], dispatched=task.number < EACH)
                for task in tasks
            )
        )
        for which, (way, victim) in enumerate(zip(ways[1:], servers[1:], strict=True), 1):
            await speaks([task for task in dispatched if task.number % count == which])
            await asyncio.sleep(dice.uniform(0, 0.4) * spread)
            way.ports = [servers[0].port]
            victim.kill()
        took = await stage.settled([task for task in tasks if task.acknowledged])
        await stage.done()
        await check_dispatched(stage, dispatched)
        interrupted = await check_completed(stage, completed)
        await again(stage, completed)
        await check_unlocked(stage, tasks)
        resumed = sum(bool(task.attempts) for task in dispatched)
        logger.info(
            "%d of %d processes were killed: %d of %d dispatches went on, %d of %d completes were interrupted, all "
            "settled %.1f s after the last death",
            *(count - 1, count, resumed, EACH, interrupted, EACH, took),
        )
        assert resumed
        assert interrupted


async def test_a_process_goes_on_with_the_turns_of_one_on_another_host_and_leaves_the_others_alone(
    tmp_path: Path, url: str
) -> None:
    async with scene(tmp_path, url=url) as stage:
        logger.info(await one_dies(stage, CAREFUL))


async def test_a_process_that_takes_every_other_for_dead_is_found_out(tmp_path: Path, url: str) -> None:
    async with scene(tmp_path, Pace(delay=0.1), url=url) as stage:
        with pytest.raises((AssertionError, TimeoutError)):
            await one_dies(stage, mutant("lease"))


async def test_a_process_that_slept_through_its_lease_writes_nothing_when_it_wakes(tmp_path: Path, url: str) -> None:
    async with scene(tmp_path, SLOW_TO_CALL, url=url) as stage:
        logger.info(await one_sleeps(stage, CAREFUL, LEASE_MS))


async def test_a_process_that_writes_whoever_runs_the_turn_is_found_out(tmp_path: Path, url: str) -> None:
    async with scene(tmp_path, SLOW_TO_CALL, url=url) as stage:
        with pytest.raises((AssertionError, TimeoutError)):
            await one_sleeps(stage, mutant("attempt"), SHORT_LEASE_MS, patience=10)


# The database is away


async def test_a_database_that_crashes_and_recovers_under_load_costs_no_turn_that_runs_by_itself(
    tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    async with scene(tmp_path, Pace(delay=0.1), url=url) as stage:
        servers = list(await asyncio.gather(stage.serve(), stage.serve()))
        stage.lead_to_all(servers)
        tasks = await stage.tasks(2 * EACH)
        dispatched, completed = tasks[:EACH], tasks[EACH:]
        stage.start(
            *(later(task.number % EACH / EACH, task, stage.client, dispatched=task.number < EACH) for task in tasks)
        )
        for _ in range(5 if FULL else 2):
            await asyncio.sleep(1.2)
            await asyncio.to_thread(postgres.stop, "immediate")
            await asyncio.sleep(0.5)
            await asyncio.to_thread(postgres.start)
        recovered = time.monotonic()
        await stage.done(30)
        await stage.ended([task for task in tasks if task.acknowledged], SETTLED_WITHIN)
        await check_stored(stage, dispatched)
        broken = len(await check_kept(stage, completed))
        await check_unlocked(stage, tasks)
        logger.info(
            "PostgreSQL crashed under %d turns: %d dispatches took another attempt, %d of %d completes broke off; all "
            "had ended %.1f s after it was there again",
            *(len(tasks), sum(bool(task.attempts) for task in dispatched), broken, EACH, time.monotonic() - recovered),
        )


async def check_stored(stage: Scene, dispatched: list[Task]) -> None:
    """Assert that a dispatch whose stream reached its end is stored once as it was told."""
    for task, stored in zip(dispatched, await stage.stored(dispatched), strict=True):
        assert task.failure is None
        assert task.text == task.answer
        assert stored == [("user", task.said), *task.reply]


async def test_a_process_that_is_cut_off_from_the_database_loses_its_turns_and_serves_again_when_it_is_back(
    tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    async with (
        Proxy(path=postgres.folder / ".s.PGSQL.5432") as wire,
        scene(tmp_path, SLOW_TO_CALL, url=url) as stage,
    ):
        name = url.partition("@/")[2].partition("?")[0]
        by_wire = f"postgresql://postgres@127.0.0.1:{wire.port}/{name}"
        cut_off, living = await asyncio.gather(stage.serve(url=by_wire), stage.serve())
        stage.lead_to(cut_off)
        tasks = await stage.tasks(12)
        dispatched, completed = tasks[:8], tasks[8:]
        async with at(cut_off) as direct:
            stage.start(*(task.dispatch(stage.client) for task in dispatched))
            stage.start(*(task.complete(direct) for task in completed))
            await stage.begun(tasks)
            await asyncio.sleep(stage.worker.pace.first * stage.worker.pace.delay / 2)
            wire.closed = True
            wire.cut_all()
            alone = time.monotonic()
            stage.lead_to(living)
            stage.proxy.cut_all()
            await asyncio.sleep(LEASE_MS / 1000)
            await stage.settled(tasks)
            took = time.monotonic() - alone
            wire.closed = False
            await stage.done(40)
            await stage.ended(tasks, 30)
            assert all(task.text is None for task in completed)
            before = await stage.stored(tasks)
            await asyncio.sleep(0.5)
            assert await stage.stored(tasks) == before
            await check_dispatched(stage, dispatched)
            await check_completed(stage, completed)
            await check_unlocked(stage, tasks)
            async with stage.stalls.within(SETTLED_WITHIN):
                await serves_again(direct, tasks[0])
        logger.info("%d turns were settled %.1f s after their process was cut off", len(tasks), took)


async def serves_again(client: AsyncTurnwise, task: Task) -> None:
    while True:
        try:
            assert (await client.conversation.complete(task.conversation_id, text="ping")).text == "pong"
        except ServiceUnavailableError:
            await asyncio.sleep(0.2)
        else:
            return


# Order


async def test_turns_of_one_conversation_run_in_the_order_they_came_by_way_of_all_processes(
    tmp_path: Path, url: str
) -> None:
    async with scene(tmp_path, Pace(delay=0.05), url=url) as stage:
        servers = list(await asyncio.gather(*(stage.serve() for _ in range(3))))
        stage.lead_to_all(servers)
        (first,) = await stage.tasks(1)
        async with at(servers[0]) as one, at(servers[1]) as two, at(servers[2]) as last:
            stage.start(first.dispatch(stage.client))
            await stage.begun([first])
            for number in range(9):
                client = (one, two, last)[number % 3]
                if number % 2:
                    stage.start(wait_for(client, first.conversation_id, f"ping {number}"))
                else:
                    await client.conversation.dispatch(first.conversation_id, text=f"ping {number}")
                await asyncio.sleep(0.1)
            # One that leaves, and one whose process dies, are waited for by nobody.
            leaves = asyncio.create_task(one.conversation.complete(first.conversation_id, text="never", retries=0))
            await asyncio.sleep(0.1)
            leaves.cancel()
            await asyncio.gather(leaves, return_exceptions=True)
            stage.start(wait_for(two, first.conversation_id, "ping 9"))
            await stage.done(20)
            await stage.ended([first], 5)
        said = [text for kind, text in (await stage.stored([first]))[0] if kind == "user"]
        assert said == [first.said, *(f"ping {number}" for number in range(10))]


async def wait_for(client: AsyncTurnwise, conversation_id: str, text: str) -> None:
    assert (await client.conversation.complete(conversation_id, text=text)).text == "pong"


async def test_a_turn_waits_for_nobody_in_a_process_that_died(tmp_path: Path, url: str) -> None:
    async with scene(tmp_path, Pace(delay=0.05), url=url) as stage:
        dying, living = await asyncio.gather(stage.serve(), stage.serve())
        stage.lead_to(living)
        (first,) = await stage.tasks(1)
        stage.start(first.dispatch(stage.client))
        await stage.begun([first])
        async with at(dying) as waits:
            gone = asyncio.create_task(waits.conversation.complete(first.conversation_id, text="gone", retries=0))
            await asyncio.sleep(0.2)
            dying.kill()
            await asyncio.gather(gone, return_exceptions=True)
        await wait_for(stage.client, first.conversation_id, "ping")
        await stage.done(5)
        said = [text for kind, text in (await stage.stored([first]))[0] if kind == "user"]
        assert said == [first.said, "ping"]


async def test_a_turn_is_read_and_cancelled_through_any_process(tmp_path: Path, url: str) -> None:
    async with scene(tmp_path, Pace(first=1000, delay=0.02), url=url) as stage:
        here, there, elsewhere = await asyncio.gather(*(stage.serve(CALM) for _ in range(3)))
        stage.lead_to(there)
        (task,) = await stage.tasks(1)
        async with at(here) as one, at(elsewhere) as other:
            await one.conversation.dispatch(task.conversation_id, text=task.said, channel_id=task.channel)
            events: list[str] = []
            async with asyncio.timeout(60), stage.client.channel.subscribe(task.channel, history_length=100) as told:
                began = ended = 0.0
                async for _, event in published(told):
                    events.append(event["type"])
                    if not began and events.count("token") == 20:
                        began = time.perf_counter()
                        await other.conversation.cancel(task.conversation_id)
                ended = time.perf_counter()
        assert events[:2] == ["sendResult", "completeBegin"]
        assert events[-4:] == ["abort", "completeEnd", "receiveResult", "result"]
        (turn,) = await stage.turns([task])
        assert (turn.state, turn.attempt) == ("aborted", 1)
        logger.info("cancelled by a third process: a reader at a second one knew after %.0f ms", (ended - began) * 1e3)
        assert ended - began < 1 + stage.stalls.allowance


# Handing over


async def test_a_process_that_stops_hands_its_dispatches_over_at_once(tmp_path: Path, url: str) -> None:
    async with scene(tmp_path, Pace(first=120, delay=0.05), url=url) as stage:
        stopping = await stage.serve(TURNWISE_GRACE="1", TURNWISE_MAX_DISPATCHES="4")
        stage.lead_to(stopping)
        tasks = await stage.tasks(8)
        stage.start(*(task.dispatch(stage.client) for task in tasks))
        await stage.begun(tasks)
        async with asyncio.timeout(60):
            half = ["running"] * 4 + ["waiting"] * 4
            while sorted(turn.state for turn in await stage.turns(tasks)) != half:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        living = await stage.serve()  # only now: a full process that knows of another one leaves to it what waits
        turns = await stage.turns(tasks)
        stage.lead_to(living)
        stopped = asyncio.create_task(asyncio.to_thread(stopping.stop))
        began = time.monotonic()
        waiting = [task for task, turn in zip(tasks, turns, strict=True) if turn.state == "waiting"]
        await running(stage, waiting, attempt=2)
        first = time.monotonic() - began
        await running(stage, tasks, attempt=2)
        took = time.monotonic() - began
        assert await stopped == 0
        await stage.done(30)
        await check_dispatched(stage, tasks)
        logger.info("what waited ran elsewhere after %.2f s, what ran after %.2f s (grace: 1 s)", first, took)
        assert first < 1 + stage.stalls.allowance
        assert took < 3 + stage.stalls.allowance


async def running(stage: Scene, tasks: list[Task], *, attempt: int) -> None:
    async with stage.stalls.within(SETTLED_WITHIN):
        while any(  # noqa: ASYNC110 - nobody tells
            turn.state == "waiting" or (turn.attempt or 0) < attempt for turn in await stage.turns(tasks)
        ):
            await asyncio.sleep(0.02)


# Clocks


def skewed(seconds: float) -> tuple[str, ...]:
    return ("-m", "tests.crash.skewed", str(seconds), str(SHORT_LEASE_MS), "none")


async def test_processes_whose_clocks_are_minutes_apart_share_turns_and_everything_else(
    tmp_path: Path, url: str
) -> None:
    async with scene(tmp_path, url=url) as stage:
        slow, right, fast = await asyncio.gather(*(stage.serve(skewed(by)) for by in (-300, 0, 300)))
        stage.lead_to_all([slow, right, fast])
        tasks = await stage.tasks(12)
        stage.start(*(task.dispatch(stage.client) for task in tasks))
        await stage.begun(tasks)
        assert all(turn.attempt == 1 for turn in await stage.turns(tasks)), "nobody is taken for dead"
        await asyncio.sleep(stage.worker.pace.seconds / 4)
        fast.kill()
        stage.lead_to_all([slow, right])
        await stage.settled(tasks)
        await stage.done()
        await check_dispatched(stage, tasks)
        await shared_in_spite_of_clocks(slow, right)
        await shared_in_spite_of_clocks(right, slow)
        await check_unlocked(stage, tasks)


async def shared_in_spite_of_clocks(here: ServerProcess, there: ServerProcess) -> None:
    """Assert that what is done through one process is seen, and done once, through the other."""
    async with at(here) as one, at(there) as other:
        made = await shared(one, other)
        token = (await one.conversation.session.create(made)).token
    async with AsyncTurnwise(secret=token, base_url=there.url) as page:
        assert (await page.conversation.complete(made, text="ping")).text == "pong"


async def shared(one: AsyncTurnwise, other: AsyncTurnwise) -> str:
    made = (await one.conversation.create()).id
    key = {"idempotency-key": f"key-{made}"}
    answer = await one.conversation.complete(made, text="ping", extra_headers=key)
    assert await other.conversation.complete(made, text="ping", extra_headers=key) == answer
    for number, client in enumerate((one, other) * 3):
        await client.conversation.send(made, text=f"message {number}")
    for client in (one, other):
        texts = [message.text async for message in client.conversation.message.list(made)]
        assert texts == ["ping", "pong", *(f"message {number}" for number in range(6))]
    await one.conversation.upvote(made)
    return made
