"""Whatever befalls a server process, no turn is lost, doubled, or left running.

Every test runs real processes on one database file. With `TURNWISE_TEST_FULL=1` they have the lease that `turnwise
serve` has, and `kill -9` falls on 200 dispatched and 200 completed turns in each of ten rounds; without, a shorter one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.crash.process import SECRET, SERVE
from tests.crash.proxy import Dice
from tests.crash.scene import CAREFUL, FULL, LEASE_MS, SETTLED_WITHIN, SHORT_LEASE_MS, Scene, mutant, scene
from tests.crash.task import Task, line_of
from tests.crash.worker import Pace, preface_of

from turnwise import AsyncTurnwise
from turnwise.types.message import Message

# Leases of three seconds lapse in a stall, and turns of living processes go on elsewhere.
pytestmark = [pytest.mark.slow, pytest.mark.forgives_stalls]

logger = logging.getLogger(__name__)
"""Figures: `pytest --log-cli-level=INFO` shows them."""

ROUNDS, EACH = (10, 200) if FULL else (1, 20)
"""How often a server is killed, and how many turns of each kind it then has."""


async def later(seconds: float, work: Task, client: AsyncTurnwise, *, dispatched: bool) -> None:
    await asyncio.sleep(seconds)
    await (work.dispatch(client) if dispatched else work.complete(client))


async def check_dispatched(scene: Scene, tasks: Sequence[Task]) -> None:
    """Assert that everything was said, done, told and stored once."""
    check_told(tasks)
    for task, stored in zip(tasks, await scene.stored(tasks), strict=True):
        assert stored == [("user", task.said), *task.reply]


def check_told(tasks: Sequence[Task]) -> None:
    """Assert that whoever followed a dispatch was told everything once."""
    for task in tasks:
        assert task.began == {"sendResult": 1, "completeBegin": 1}
        assert task.told == task.reply
        assert task.text == task.answer
        assert len(task.calls) == 1, f"a repeated call has the id of the first: {task.calls}"


@dataclass(frozen=True)
class Broken:
    """A reply that broke off after so many whole messages; the last that is stored may be a part of one."""

    task: Task
    last: Message
    partial: bool
    whole: int


async def check_kept(scene: Scene, tasks: Sequence[Task]) -> list[Broken]:
    """Assert that what was acknowledged is there once, and replies as far as they came; return those that broke off."""
    found: list[Broken] = []
    for task in tasks:
        messages = await scene.messages(task)
        lines = [line_of(message) for message in messages]
        if task.text is not None:
            assert (task.text, lines) == (task.answer, [("user", task.said), *task.reply])
        elif not lines:
            assert not task.acknowledged
        else:
            assert lines.count(("user", task.said)) == 1
            partial = (messages[-1].meta or {}).get("interrupted") is True
            whole = lines[1:-1] if partial else lines[1:]
            assert whole == task.reply[: len(whole)]
            found.append(Broken(task, messages[-1], partial, len(whole)))
    return found


async def check_completed(scene: Scene, tasks: Sequence[Task]) -> int:
    """Assert that the replies are whole, or kept as far as they came and marked; return how many broke off."""
    found = await check_kept(scene, tasks)
    for broken in found:
        task, last = broken.task, broken.last
        turn = await scene.client.conversation.turn(task.conversation_id)
        if turn.state == "interrupted":
            assert turn.reason == "crash"
        if broken.partial:
            assert last.meta == {"interrupted": True, "reason": "crash"}
            assert task.reply[broken.whole][1].startswith(last.text)
        if not broken.whole and task.tokens > 2 + 1.0 / task.pace.delay:
            assert broken.partial, f"{task.tokens} tokens were seen and nothing was kept: {last}"
    return len(found)


async def check_unlocked(scene: Scene, tasks: Sequence[Task]) -> None:
    """Assert that every conversation takes its next turn at once."""

    async def ask(task: Task) -> None:
        async with scene.stalls.within(SETTLED_WITHIN):
            result = await scene.client.conversation.complete(task.conversation_id, text="ping")
        assert result.text == "pong"

    await asyncio.gather(*(ask(task) for task in tasks))


async def again(scene: Scene, tasks: Sequence[Task]) -> None:
    """Repeat requests that broke off, under their keys: each gets its answer, and nothing is doubled."""
    repeated = [task for task in tasks if task.text is None]
    await asyncio.gather(*(task.complete(scene.client) for task in repeated))
    if scene.stalls.allowance:  # leases lapse in a stall, and replies break off once more
        await asyncio.gather(*(task.complete(scene.client) for task in repeated if task.text is None))
    for task, stored in zip(repeated, await scene.stored(repeated), strict=True):
        assert (task.text, task.failure and str(task.failure)) == (task.answer, str(task.failure or "") or None)
        assert stored.count(("user", task.said)) == 1
        assert stored[-1] == ("bot", task.answer)


@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_a_killed_server_goes_on_with_what_was_dispatched_and_keeps_what_was_said(
    tmp_path: Path, number: int
) -> None:
    dice = Dice(number)
    async with scene(tmp_path, Pace(delay=0.1 if FULL else 0.03)) as stage:
        stage.lead_to(first := await stage.serve(SERVE))
        tasks = await stage.tasks(2 * EACH)
        dispatched, completed = tasks[:EACH], tasks[EACH:]
        spread = stage.worker.pace.seconds
        stage.start(
            *(later(dice.uniform(0, spread), task, stage.client, dispatched=task.number < EACH) for task in tasks)
        )
        stateless = [Task(2 * EACH + number, "", stage.worker.pace) for number in range(EACH // 4)]
        stage.start(*(task.dispatch_stateless(stage.client) for task in stateless))
        moment = dice.uniform(0.5, 1.5) * spread
        await asyncio.sleep(moment)
        first.kill()
        stage.lead_to(await stage.serve(SERVE))
        begun = [task for task in tasks if task.acknowledged]
        took = await stage.settled(begun)
        await stage.done()
        await check_dispatched(stage, dispatched)
        check_told(stateless)
        interrupted = await check_completed(stage, completed)
        resumed = sum(bool(task.attempts) for task in dispatched)
        repeated = sum(sum(task.calls.values()) > len(task.calls) for task in dispatched)
        await again(stage, completed)
        began = time.monotonic()
        await check_unlocked(stage, tasks)
        logger.info(
            "killed after %.2f s: %d of %d dispatches went on, %d of %d completes were interrupted, settled %.1f s "
            "after the restart, %d calls were repeated, all %d conversations took a turn in %.1f s",
            *(moment, resumed, EACH, interrupted, EACH, took, repeated, len(tasks), time.monotonic() - began),
        )
        assert resumed
        assert interrupted


async def test_a_server_that_is_killed_again_while_it_recovers_loses_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, Pace(delay=0.06)) as stage:
        server = await stage.serve()
        stage.lead_to(server)
        tasks = await stage.tasks(20)
        stage.start(*(task.dispatch(stage.client) for task in tasks))
        await stage.begun(tasks)
        await asyncio.sleep(stage.worker.pace.seconds / 4)
        server.kill()
        stage.lead_to(before_it_recovers := await stage.serve())
        await asyncio.sleep(0.2)
        before_it_recovers.kill()
        stage.lead_to(in_the_midst := await stage.serve())
        await stage.settled(tasks)
        await asyncio.sleep(stage.worker.pace.seconds / 4)
        in_the_midst.kill()
        stage.lead_to(await stage.serve())
        await stage.done()
        await check_dispatched(stage, tasks)
        await check_unlocked(stage, tasks)
        logger.info("attempts: %s", sorted({max(task.attempts, default=1) for task in tasks}))
        assert max(max(task.attempts, default=1) for task in tasks) > 2


async def one_dies(stage: Scene, survivor: tuple[str, ...]) -> str:
    """Let two processes run turns on one file, and kill one."""
    dying, living = await asyncio.gather(stage.serve(), stage.serve(survivor))
    stage.lead_to(dying)
    tasks = await stage.tasks(24)
    left, own = tasks[:12], tasks[12:]
    async with AsyncTurnwise(secret=SECRET, base_url=living.url) as neighbour:
        stage.start(*(task.dispatch(stage.client) for task in left[:6]))
        stage.start(*(task.complete(stage.client) for task in left[6:]))
        stage.start(*(task.dispatch(neighbour) for task in own[:6]))
        stage.start(*(task.complete(neighbour) for task in own[6:]))
        await stage.begun(tasks)
        await asyncio.sleep(stage.worker.pace.seconds / 4)
        assert all(turn.attempt == 1 for turn in await stage.turns(tasks)), "both live: each runs its own"
        dying.kill()
        stage.lead_to(living)
        took = await stage.settled(left)
        await stage.done(30)
    await check_dispatched(stage, [*left[:6], *own[:6]])
    assert await check_completed(stage, left[6:])
    assert await check_completed(stage, own[6:]) == 0
    assert all(turn.attempt == 1 for turn in await stage.turns(own)), "a living process's turns are its own"
    await check_unlocked(stage, tasks)
    return f"{len(left)} turns were settled {took:.1f} s after their process was killed"


async def test_a_process_goes_on_with_the_turns_of_one_that_died_and_leaves_the_others_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        logger.info(await one_dies(stage, CAREFUL))


async def test_a_process_that_takes_every_other_for_dead_is_found_out(tmp_path: Path) -> None:
    async with scene(tmp_path, Pace(delay=0.1)) as stage:
        with pytest.raises((AssertionError, TimeoutError)):
            await one_dies(stage, mutant("lease"))


async def one_sleeps(stage: Scene, sleeper: tuple[str, ...], lease_ms: int, *, patience: float = 30) -> str:
    """Freeze a process for longer than its lease, and let it go on in the midst of the work of the one after it."""
    next_one = SERVE if sleeper == SERVE else mutant("none")
    frozen, living = await asyncio.gather(stage.serve(sleeper), stage.serve(next_one))
    stage.lead_to(frozen)
    tasks = await stage.tasks(12)
    dispatched, completed = tasks[:8], tasks[8:]
    # They are listened to at the process that goes on; those that ask the one that sleeps wait with it.
    async with AsyncTurnwise(secret=SECRET, base_url=frozen.url) as direct:
        stage.start(*(task.dispatch(stage.client) for task in dispatched))
        stage.start(*(task.complete(direct) for task in completed))
        await stage.begun(tasks)
        await asyncio.sleep(stage.worker.pace.first * stage.worker.pace.delay / 2)
        frozen.freeze()
        asleep = time.monotonic()
        stage.lead_to(living)
        stage.proxy.cut_all()
        await asyncio.sleep(lease_ms / 1000)
        await stage.settled(tasks)
        took = time.monotonic() - asleep
        frozen.thaw()
        await stage.done(patience)
        await stage.ended(tasks, patience)
        assert all(task.text is None for task in completed)
        before = await stage.stored(tasks)
        await asyncio.sleep(0.5)
        assert await stage.stored(tasks) == before
        await check_dispatched(stage, dispatched)
        assert await check_completed(stage, completed) == len(completed)
        await check_unlocked(stage, tasks)
        # It lives on under another name.
        assert (await direct.conversation.complete(tasks[0].conversation_id, text="ping")).text == "pong"
    return f"{len(tasks)} turns were settled {took:.1f} s after their process was frozen"


SLOW_TO_CALL = Pace(first=35, words=5, delay=0.04)
"""Whoever is thawed has been told to call, while whoever went on with the turn has not yet."""


async def test_a_process_that_slept_through_its_lease_writes_nothing_when_it_wakes(tmp_path: Path) -> None:
    async with scene(tmp_path, SLOW_TO_CALL) as stage:
        logger.info(await one_sleeps(stage, CAREFUL, LEASE_MS))


async def test_a_process_that_writes_whoever_runs_the_turn_is_found_out(tmp_path: Path) -> None:
    async with scene(tmp_path, SLOW_TO_CALL) as stage:
        with pytest.raises((AssertionError, TimeoutError)):
            await one_sleeps(stage, mutant("attempt"), SHORT_LEASE_MS, patience=10)


async def test_streams_outlive_connections_that_are_cut_at_random(tmp_path: Path) -> None:
    dice = Dice(7)
    count = 100 if FULL else 20
    async with scene(tmp_path) as stage:
        stage.lead_to(await stage.serve())
        tasks = await stage.tasks(2 * count)
        dispatched, completed = tasks[:count], tasks[count:]
        stage.start(*(task.dispatch(stage.client, resumable=True) for task in dispatched))
        stage.start(*(task.complete(stage.client) for task in completed))
        for _ in range(8):
            await asyncio.sleep(stage.worker.pace.seconds / 8)
            stage.proxy.cut(0.15, dice)
        await stage.done(30)
        await stage.ended([task for task in tasks if task.acknowledged], 5)
        await check_dispatched(stage, dispatched)
        left = [task for task in completed if task.text is None]
        for task in left:
            messages = await stage.messages(task)
            said = [message for message in messages if line_of(message) == ("user", task.said)]
            assert len(said) == 1 or (not said and not task.acknowledged)
            if messages and (messages[-1].meta or {}).get("interrupted"):
                assert messages[-1].meta == {"interrupted": True, "reason": "abort"}
        await check_unlocked(stage, tasks)
        logger.info("%d connections were cut, %d completes broke off", stage.proxy.cuts, len(left))
        assert stage.proxy.cuts > count
        assert left


async def test_resumable_streams_do_not_notice_that_the_server_is_restarted(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        tasks: list[Task] = []
        server = await stage.serve(TURNWISE_GRACE="0.2")
        stage.lead_to(server)
        tasks = await stage.tasks(20)
        stage.start(*(task.dispatch(stage.client, resumable=True) for task in tasks))
        for _ in range(2):
            await asyncio.sleep(stage.worker.pace.seconds / 3)
            assert await asyncio.to_thread(server.stop) == 0
            server = await stage.serve(TURNWISE_GRACE="0.2")
            stage.lead_to(server)
        await stage.done()
        await check_dispatched(stage, tasks)
        await check_unlocked(stage, tasks)
        assert any(task.attempts for task in tasks)


def test_the_model_says_what_the_tasks_expect() -> None:
    pace = Pace(first=2, words=1)
    assert preface_of(3, pace) == "look3.0 look3.1"
    assert Task(3, "c", pace).answer == "done3.0"
