"""Turns of a process whose database was away for a moment, or did not tell what it stored."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import pytest
from tests.server.services.stage import ACCOUNT, Process, Stage, call, finish, until
from tests.server.services.test_turns import WEATHER, asked, data, ended, halfway, text_of, types

from turnwise.server.errors import InDoubt, Unavailable
from turnwise.server.models.base import TextDelta
from turnwise.server.services.turns import TurnSettings
from turnwise.types.conversation import ConversationCompleteRequest

AWAY = Unavailable("The database is away.")
IN_DOUBT = InDoubt("It may have been stored or not.")


async def gone_on(process: Process) -> None:
    """Let the model go on, and wait until nothing of this process runs a turn."""
    process.model.go_on.set()
    await until(lambda: not process.turns._flusher._watched)


async def test_another_attempt_is_not_ended_by_what_an_earlier_one_could_not_journal(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await halfway(stage)
    away = True
    flush, settle = process.storage.flush, process.storage.settle_turn

    async def flush_unless_away(*args: object, **kwargs: object) -> object:
        if away:
            raise AWAY
        return await flush(*args, **kwargs)  # type: ignore[arg-type]

    async def settle_unless_away(*args: object, **kwargs: object) -> None:
        if away:
            raise AWAY
        await settle(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(process.storage, "flush", flush_unless_away)
    monkeypatch.setattr(process.storage, "settle_turn", settle_unless_away)
    await process.dispatch(await process.conversation())
    await until(lambda: process.turns._flusher._unsent)
    await gone_on(process)
    process.model.go_on.clear()
    away = False
    await asked(process, 2)
    await until(lambda: not process.turns._flusher._unsent)
    process.model.go_on.set()
    async with asyncio.timeout(60):
        assert types(await process.heard())[-1] == "result"
    assert (await process.row()).attempt == 2


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_a_turn_that_is_ended_while_its_next_attempt_is_awaited_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    process = await stage.process()
    conversation = await process.conversation()
    resume, failures = process.storage.resume_turn, iter([AWAY])

    async def fails_once(*args: object, **kwargs: object) -> object:
        for failure in failures:
            raise failure
        return await resume(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(process.storage, "resume_turn", fails_once)
    await process.dispatch(conversation)
    (running,) = process.turns._running._all()
    await until(lambda: running.turn.lost)  # it is about to be put back
    if how == "cancelled":
        await process.turns.cancel(ACCOUNT, conversation_id=conversation)
    else:
        await process.storage.delete_conversation(ACCOUNT, conversation)
        process.turns.conversation_deleted(conversation)
    async with asyncio.timeout(60):
        events = await process.heard()
    assert types(events)[-1] in {"result", "error"}


async def test_a_turn_of_which_nobody_knows_whether_it_was_begun_does_not_hold_its_conversation(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process(TurnSettings(wait=20))
    conversation = await process.conversation()
    start, lost = process.storage.start_turn, iter([IN_DOUBT])

    async def answer_gets_lost(*args: object, **kwargs: object) -> object:
        begun = await start(*args, **kwargs)  # type: ignore[arg-type]
        for error in lost:
            raise error
        return begun

    monkeypatch.setattr(process.storage, "start_turn", answer_gets_lost)
    refused = await ended(process.complete(conversation))
    assert isinstance(refused.failure, Unavailable)
    assert await text_of(process.complete(conversation)) == "One two"


async def test_a_dispatch_of_which_nobody_knows_whether_it_was_stored_runs_if_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process()
    conversation = await process.conversation()
    queue, lost = process.storage.queue_turn, iter([IN_DOUBT])

    async def answer_gets_lost(*args: object, **kwargs: object) -> object:
        known = await queue(*args, **kwargs)  # type: ignore[arg-type]
        for error in lost:
            raise error
        return known

    monkeypatch.setattr(process.storage, "queue_turn", answer_gets_lost)
    with pytest.raises(Unavailable):
        await process.dispatch(conversation)
    await process.dispatch(conversation)  # again, on the same channel
    async with asyncio.timeout(60):
        assert types(await process.heard())[-1] == "result"


async def test_a_step_of_which_nobody_knows_whether_it_was_stored_is_stored_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process()
    process.model.plans = [[[TextDelta("Let me see."), call(), finish("calls")]]]
    conversation = await process.conversation()
    step, lost = process.storage.store_step, iter([IN_DOUBT, AWAY])

    async def answer_gets_lost(*args: object, **kwargs: object) -> None:
        await step(*args, **kwargs)  # type: ignore[arg-type]
        for error in lost:
            raise error

    monkeypatch.setattr(process.storage, "store_step", answer_gets_lost)
    unanswered = {key: value for key, value in WEATHER.items() if key != "result"}
    request = msgspec.convert({"text": "hi", "functions": [unanswered]}, ConversationCompleteRequest)
    turn = await ended(process.turns.complete(ACCOUNT, conversation, request))
    assert turn.failure is None
    assert await process.texts(conversation) == ["hi", "Let me see.", ""]


@pytest.mark.parametrize("how", ["fails at once", "fails while the end is stored"])
async def test_what_could_not_be_journaled_at_once_is_stored_before_what_came_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    process = await halfway(stage)
    flush, settle, failures = process.storage.flush, process.storage.settle_turn, iter([AWAY])
    settling = asyncio.Event()

    async def fails_once(*args: object, **kwargs: object) -> object:
        for failure in failures:
            process.model.go_on.set()
            if how != "fails at once":
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await settling.wait()
            raise failure
        return await flush(*args, **kwargs)  # type: ignore[arg-type]

    async def settle_and_tell(*args: object, **kwargs: object) -> None:
        settling.set()
        await settle(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(process.storage, "flush", fails_once)
    monkeypatch.setattr(process.storage, "settle_turn", settle_and_tell)
    await process.dispatch(await process.conversation())
    await until(lambda: settling.is_set() and not process.turns._running._all())
    await asyncio.sleep(0.2)
    events = await process.heard()
    assert (await process.row()).attempt == 1
    assert "".join(str(data(event)["token"]) for event in events if event["type"] == "token") == "Half and half"


async def test_a_turn_that_had_begun_and_waits_for_room_goes_on_in_a_process_that_retires(stage: Stage) -> None:
    process, other = await halfway(stage, TurnSettings(dispatches=1)), await halfway(stage)
    await process.dispatch(None, channel="a-channel-of-24-or-more-1")  # it has the only room
    await asked(process)
    await other.dispatch(None)
    await asked(other)
    await other.die()
    stage.lapse(other)
    await until(lambda: len(process.turns._running._all()) == 2)
    await process.turns.retire()
    process.model.go_on.set()
    async with asyncio.timeout(60):
        assert types(await process.heard())[-1] == "result"
