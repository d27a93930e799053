from __future__ import annotations

import asyncio

import pytest
from tests.server.services.stage import until

from turnwise.server.errors import BadRequest, DomainError, NotFound
from turnwise.server.services.engine import BROKEN
from turnwise.server.services.running import RunningTurns
from turnwise.server.services.turn import Turn
from turnwise.server.storage.journal import TurnLost


async def for_ever() -> None:
    await asyncio.sleep(60)


async def failing(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


def begin(running: RunningTurns, turn_id: str, *, conversation: str | None = None, dispatched: bool = False) -> Turn:
    turn = Turn()
    running.run(turn_id, turn, for_ever(), conversation_id=conversation, dispatched=dispatched)
    return turn


async def test_a_turn_is_known_from_its_beginning_to_its_end() -> None:
    running = RunningTurns()
    turn = begin(running, "a")
    assert running.find("a") is turn
    turn.abort("enough")
    await running.wait(1)
    await asyncio.sleep(0)
    assert turn.done
    assert running.find("a") is None


async def test_the_end_of_an_earlier_attempt_does_not_hide_the_one_that_runs() -> None:
    running = RunningTurns()
    earlier = begin(running, "a")
    later = begin(running, "a")
    earlier.lose()
    assert earlier.task is not None
    await asyncio.wait([earlier.task])
    await asyncio.sleep(0)
    assert running.find("a") is later
    later.lose()
    await running.wait(1)


@pytest.mark.parametrize(
    "error, told",
    [
        (BadRequest("Not so."), "Not so."),
        (TurnLost("gone"), "another server goes on with it"),
        (ValueError("a fault"), BROKEN),
    ],
)
async def test_whatever_becomes_of_the_work_the_turn_ends_and_says_why(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    running, turn = RunningTurns(), Turn()
    running.run("a", turn, failing(error), conversation_id=None)
    await running.wait(1)
    assert turn.failure is not None
    assert told in turn.failure.message
    assert ("a turn failed" in caplog.text) == isinstance(error, ValueError)


async def test_dispatches_are_left_to_others_first_those_that_wait_and_other_turns_are_broken_off() -> None:
    running = RunningTurns()
    dispatched, awaited = begin(running, "a", dispatched=True), begin(running, "b")
    waiting = begin(running, "c", dispatched=True)
    waiting.waits = True
    running.leave(running=False)
    await until(lambda: waiting.done)
    assert (dispatched.lost, awaited.lost, waiting.lost) == (False, False, True)
    running.leave(running=True)
    running.abort_all("the end is near")
    await running.wait(1)
    assert (dispatched.lost, awaited.lost) == (True, False)
    assert awaited.failure is not None
    assert "the end is near" in awaited.failure.message


async def test_turns_of_one_conversation_are_ended_with_what_their_readers_are_told() -> None:
    running, gone = RunningTurns(), NotFound("It is gone.")
    mine, other = begin(running, "a", conversation="mine"), begin(running, "b", conversation="other")
    running.abort_in("mine", "deleted", gone)
    assert mine.task is not None
    await asyncio.wait([mine.task])
    assert mine.failure is gone
    assert not other.done
    running.lose_all()
    await running.wait(1)
    assert other.lost
    assert isinstance(other.failure, DomainError)
