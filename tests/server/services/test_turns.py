"""Turns of whole processes: started, joined, replayed, cancelled, lost, handed over and taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from tests.server.services.stage import (
    ACCOUNT,
    CHANNEL,
    FUNCTION_CHANNEL,
    Process,
    Stage,
    call,
    finish,
    keyed,
    until,
)
from tests.server.storage.scene import HOUR, new_turn

from turnwise.server.errors import BadRequest, Conflict, Unavailable
from turnwise.server.models.base import ModelError, TextDelta
from turnwise.server.services.turn import Turn
from turnwise.server.services.turns import TurnSettings
from turnwise.server.storage.base import AlreadyDone, MessageQuery
from turnwise.types.conversation import CompleteResult, ConversationCompleteRequest
from turnwise.types.event import WaitForChannelMessageBeginEvent

WEATHER: dict[str, object] = {
    "name": "weather",
    "description": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "result": {"channel": FUNCTION_CHANNEL},
}


def types(events: Sequence[Mapping[str, object]]) -> list[object]:
    return [event["type"] for event in events]


def data(event: Mapping[str, object]) -> dict[str, object]:
    return msgspec.convert(event["data"], dict[str, object])


async def ended(turn: Turn) -> Turn:
    async with asyncio.timeout(60):
        while not turn.done:
            await turn.more(len(turn.events))
    return turn


async def text_of(turn: Turn) -> str:
    await ended(turn)
    assert turn.failure is None, turn.failure
    assert isinstance(turn.result, CompleteResult)
    return turn.result.text


async def asked(process: Process, times: int = 1) -> None:
    await until(lambda: len(process.model.prompts) >= times)


async def halfway(stage: Stage, settings: TurnSettings | None = None) -> Process:
    """Start a process whose model says half of its reply, and then waits."""
    process = await stage.process(settings)
    process.model.plans = [[[TextDelta("Half")], None, [TextDelta(" and half"), finish()]]]
    return process


# Under a key


async def test_a_repeat_joins_the_turn_that_runs_and_is_answered_like_it_ever_after(stage: Stage) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    first = process.complete(conversation, key=keyed())
    await asked(process)
    assert process.complete(conversation, key=keyed()) is first
    with pytest.raises(Conflict, match="another body"):
        process.complete(conversation, key=keyed(body=b"another"))
    process.model.go_on.set()
    await ended(first)
    await asyncio.sleep(0.01)
    again = process.complete(conversation, key=keyed())
    assert again is not first
    assert await text_of(again) == "Half and half"
    assert again.result == first.result
    assert len(process.model.prompts) == 1


async def test_a_repeat_by_way_of_another_process_waits_for_the_answer_and_gets_it(stage: Stage) -> None:
    process, other = await halfway(stage), await stage.process()
    conversation = await process.conversation()
    first = process.complete(conversation, key=keyed())
    await asked(process)
    again = other.complete(conversation, key=keyed())
    await asyncio.sleep(0.1)
    process.model.go_on.set()
    assert await text_of(again) == await text_of(first) == "Half and half"
    assert other.model.prompts == []
    assert await process.texts(conversation) == ["hi", "Half and half"]


async def test_a_repeat_by_way_of_another_process_gets_the_answer_that_comes_while_it_asks_for_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, other = await halfway(stage), await stage.process()
    conversation = await process.conversation()
    first = process.complete(conversation, key=keyed())
    await asked(process)
    start = other.storage.start_turn

    async def while_the_first_ends(*args: object, **kwargs: object) -> object:
        try:
            return await start(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        except AlreadyDone:
            process.model.go_on.set()
            await ended(first)
            raise

    monkeypatch.setattr(other.storage, "start_turn", while_the_first_ends)
    again = other.complete(conversation, key=keyed())
    assert await text_of(again) == await text_of(first) == "Half and half"
    assert other.model.prompts == []
    assert stage.adapter.rows("turns") == 1
    assert await process.texts(conversation) == ["hi", "Half and half"]


async def test_a_repeat_of_what_was_broken_off_replies_to_the_message_that_is_stored(stage: Stage) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    first = process.complete(conversation, key=keyed())
    await asked(process)
    first.release()
    again = process.complete(conversation, key=keyed())
    await until(lambda: first.done)
    await asked(process, 2)
    process.model.go_on.set()
    assert await text_of(again) == "Half and half"
    assert await process.texts(conversation) == ["hi", "Half", "Half and half"]
    assert [message.text for message in process.model.prompts[1].messages] == ["hi"]


async def test_an_answer_that_came_first_by_another_way_does_not_leave_the_turn_running(stage: Stage) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    turn = process.complete(conversation, key=keyed())
    await asked(process)
    await process.storage.remember(ACCOUNT, keyed().once(b"[]"))
    process.model.go_on.set()
    await ended(turn)
    assert isinstance(turn.failure, Unavailable)
    assert (await process.row(conversation)).state == "aborted"
    assert await text_of(process.complete(conversation, "again")) == "Half and half"


# Cancelled


async def test_a_dispatch_is_cancelled_while_it_waits_for_the_turn_before_it(stage: Stage) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    first = process.complete(conversation)
    await asked(process)
    await process.dispatch(conversation, "never said")
    await process.turns.cancel(ACCOUNT, channel_id=CHANNEL)
    events = await process.heard()
    assert types(events) == ["abort", "receiveResult", "result"]
    assert data(events[2])["end"] == {"reason": "abort"}
    assert (await process.row()).state == "aborted"
    process.model.go_on.set()
    assert await text_of(first) == "Half and half"
    assert await process.texts(conversation) == ["hi", "Half and half"]


async def test_a_dispatch_is_cancelled_while_it_waits_for_room(stage: Stage) -> None:
    process = await halfway(stage, TurnSettings(dispatches=1))
    await process.dispatch(None, channel="another-channel-of-24-or-more")
    await asked(process)
    await process.dispatch(None)
    await process.turns.cancel(ACCOUNT, channel_id=CHANNEL)
    assert types(await process.heard()) == ["abort", "receiveResult", "result"]
    assert len(process.model.prompts) == 1


async def test_a_dispatch_that_waits_is_cancelled_by_way_of_another_process(stage: Stage) -> None:
    process, other = await halfway(stage), await stage.process()
    conversation = await process.conversation()
    process.complete(conversation)
    await asked(process)
    await process.dispatch(conversation)
    await other.turns.cancel(ACCOUNT, channel_id=CHANNEL)
    assert types(await process.heard()) == ["abort", "receiveResult", "result"]


async def test_a_dispatch_that_was_cancelled_while_nobody_ran_it_ends_when_it_is_adopted(stage: Stage) -> None:
    process = await halfway(stage)
    await process.dispatch(None)
    await asked(process)
    await process.die()
    await process.turns.cancel(ACCOUNT, channel_id=CHANNEL)
    stage.lapse(process)
    other = await stage.process()
    assert types(await other.heard())[-3:] == ["abort", "receiveResult", "result"]
    assert (await other.row()).state == "aborted"
    assert other.model.prompts == []


# Failures


async def test_a_model_that_breaks_off_is_told_on_the_channel_and_what_it_said_is_kept(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()

    async def breaks() -> None:
        raise ModelError("The model broke off.", status=502, code="BAD_GATEWAY")

    monkeypatch.setattr(process.model.go_on, "wait", breaks)
    await process.dispatch(conversation)
    events = await process.heard()
    assert types(events) == ["sendResult", "completeBegin", "token", "message", "error"]
    assert data(events[-1]) == {"message": "The model broke off.", "code": "BAD_GATEWAY"}
    *_, said = await process.storage.list_messages(ACCOUNT, conversation, MessageQuery())
    assert (said.text, said.meta) == ("Half", {"interrupted": True, "reason": "error"})
    row = await process.row()
    assert (row.state, row.reason) == ("failed", "error")


@pytest.mark.parametrize(
    "error, code", [(BadRequest("Not so."), "BAD_REQUEST"), (ValueError("a fault"), "INTERNAL_SERVER_ERROR")]
)
@pytest.mark.parametrize("where", ["turn", "channel"])
async def test_a_dispatch_that_cannot_begin_says_so_on_its_channel_and_is_settled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, code: str
) -> None:
    process = await stage.process()
    conversation = await process.conversation()
    place, name = (process.storage, "resume_turn") if where == "turn" else (process.channels, "feed")
    does, failures = getattr(place, name), iter([error])

    async def fails_once(*args: object, **kwargs: object) -> object:
        for failure in failures:
            raise failure
        return await does(*args, **kwargs)

    monkeypatch.setattr(place, name, fails_once)
    await process.dispatch(conversation)
    events = await process.heard()
    assert types(events) == ["error"]
    assert data(events[0])["code"] == code
    assert (await process.row()).state == "failed"
    assert await text_of(process.complete(conversation)) == "One two"


async def test_a_dispatch_that_failed_is_settled_though_its_channel_cannot_be_had_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process()
    conversation = await process.conversation()
    feed, failures = process.channels.feed, iter([ValueError("a fault"), Unavailable("The database is away.")])

    async def fails_twice(account_id: str, channel_id: str) -> object:
        for failure in failures:
            raise failure
        return await feed(account_id, channel_id)

    monkeypatch.setattr(process.channels, "feed", fails_twice)
    await process.dispatch(conversation)
    assert types(await process.heard()) == ["error"]
    assert (await process.row()).state == "failed"


async def test_a_stored_dispatch_that_cannot_be_read_fails_and_is_not_tried_for_ever(stage: Stage) -> None:
    process = await stage.process()
    await process.storage.register_process("dead", lease_ms=HOUR)
    turn = new_turn("dead", kind="dispatch", channel_id=CHANNEL, request=b"nonsense")
    await process.storage.queue_turn(turn)
    stage.adapter.lapse("dead")
    events = await process.heard()
    assert types(events) == ["error"]
    assert (await process.row()).state == "failed"


async def test_a_dispatch_whose_client_went_away_while_it_was_stored_runs_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process()
    queue, stored = process.storage.queue_turn, asyncio.Event()

    async def slowly(*args: object, **kwargs: object) -> object:
        row = await queue(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        stored.set()
        await asyncio.sleep(0.02)
        return row

    monkeypatch.setattr(process.storage, "queue_turn", slowly)
    asking = asyncio.create_task(process.dispatch(None))
    await stored.wait()
    asking.cancel()
    assert types(await process.heard())[-1] == "result"


# In line


async def test_turns_of_a_conversation_run_in_the_order_they_came_through_all_processes(stage: Stage) -> None:
    process, other = await halfway(stage), await stage.process()
    conversation = await process.conversation()
    process.complete(conversation, "0")
    await asked(process)
    for number in range(1, 7):
        through = (process, other)[number % 2]
        if number % 3:
            through.complete(conversation, str(number))
        else:
            await through.dispatch(conversation, str(number), f"a-channel-of-24-or-more-{number}")
        await stage.stored(number + 1)
    process.model.go_on.set()
    await until(lambda: not process.turns._running._running and not other.turns._running._running)
    assert [text for text in await process.texts(conversation) if text.isdigit()] == list("0123456")


async def test_a_turn_whose_caller_leaves_while_it_waits_is_waited_for_by_nobody(stage: Stage) -> None:
    process, other = await halfway(stage), await stage.process()
    conversation = await process.conversation()
    first = process.complete(conversation, "first")
    await asked(process)
    leaves = other.complete(conversation, "leaves")
    await asyncio.sleep(0.05)
    last = process.complete(conversation, "last")
    leaves.release()
    await ended(leaves)
    process.model.go_on.set()
    assert (await text_of(first), await text_of(last)) == ("Half and half", "Half and half")
    assert "leaves" not in await process.texts(conversation)


async def test_a_turn_that_waits_too_long_is_refused_and_leaves_no_trace(stage: Stage) -> None:
    process = await halfway(stage)
    other = await stage.process(TurnSettings(wait=0.1))
    conversation = await process.conversation()
    first = process.complete(conversation, "first")
    await asked(process)
    refused = await ended(other.complete(conversation, "late"))
    assert isinstance(refused.failure, Conflict)
    assert "still running after 0.1 seconds" in refused.failure.message
    assert stage.adapter.rows("turns") == 1
    process.model.go_on.set()
    assert await text_of(first) == "Half and half"


async def test_a_repeat_that_waited_for_the_first_gets_its_answer_and_leaves_no_turn(stage: Stage) -> None:
    process, other = await halfway(stage), await stage.process()
    conversation = await process.conversation()
    first = process.complete(conversation, key=keyed())
    await asked(process)
    again = other.complete(conversation, key=keyed())
    await asyncio.sleep(0.05)
    process.model.go_on.set()
    assert (await text_of(first), await text_of(again)) == ("Half and half", "Half and half")
    assert stage.adapter.rows("turns") == 1
    assert await process.texts(conversation) == ["hi", "Half and half"]


async def test_a_process_without_room_leaves_what_it_takes_on_to_one_that_has_some(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnwise.server.services.lease.RENEW_SECONDS", 0.02)
    process, other = await halfway(stage, TurnSettings(dispatches=1)), await stage.process(TurnSettings(dispatches=1))
    await until(lambda: process.turns._lease.others == 1)
    await process.dispatch(None, channel="another-channel-of-24-or-more")
    await asked(process)
    await process.dispatch(None)
    assert types(await other.heard())[-1] == "result"
    assert len(other.model.prompts) == 1
    assert (await process.row(channel="another-channel-of-24-or-more")).state == "running"


async def test_what_nobody_has_room_for_waits_in_the_journal_and_is_told_when_it_is_cancelled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnwise.server.services.lease.RENEW_SECONDS", 0.02)
    processes = [await halfway(stage, TurnSettings(dispatches=1)) for _ in range(2)]
    await until(lambda: all(process.turns._lease.others == 1 for process in processes))
    for number, process in enumerate(processes):
        await process.dispatch(None, channel=f"busy-channel-of-24-or-more-{number}")
        await asked(process)
    await processes[0].dispatch(None)
    await asyncio.sleep(0.1)
    assert (await processes[0].row()).process_id == ""
    await processes[1].turns.cancel(ACCOUNT, channel_id=CHANNEL)
    assert types(await processes[0].heard()) == ["abort", "receiveResult", "result"]
    await processes[0].dispatch(None, channel="the-last-channel-of-24-or-more")
    processes[1].model.go_on.set()
    assert types(await processes[1].heard("the-last-channel-of-24-or-more"))[-1] == "result"


# Lost, handed over, taken over


async def test_a_process_that_lost_its_lease_ends_all_its_turns_without_writing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await halfway(stage)

    async def nothing(*_args: object, **_kwargs: object) -> list[object]:
        return []

    monkeypatch.setattr(process.storage, "claim_lapsed", nothing)
    conversation = await process.conversation()
    completed = process.complete(conversation)
    await process.dispatch(None)
    await asked(process, 2)
    stage.lapse(process)
    await until(lambda: not process.turns._running._running)
    assert isinstance((await ended(completed)).failure, Unavailable)
    assert await process.texts(conversation) == ["hi"]
    assert [(row.state, row.attempt) for row in (await process.row(conversation), await process.row())] == [
        ("running", 1)
    ] * 2


async def test_a_process_that_comes_back_takes_its_own_turns_over(stage: Stage) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    completed = process.complete(conversation)
    await process.dispatch(None)
    await asked(process, 2)
    stage.lapse(process)
    await asked(process, 3)
    process.model.go_on.set()
    events = await process.heard()
    assert data(events[types(events).index("attempt")]) == {"attempt": 2}
    assert types(events)[-1] == "result"
    assert isinstance((await ended(completed)).failure, Unavailable)


@pytest.mark.parametrize("stateful", [True, False])
async def test_an_adopted_turn_goes_on_after_its_last_step_and_repeats_the_pending_calls_under_their_ids(
    stage: Stage, stateful: bool
) -> None:
    process = await stage.process()
    process.model.plans = [[[TextDelta("Let me look."), call(1), call(2, "Oslo")], [finish("calls")]]]
    conversation = await process.conversation() if stateful else None
    await process.dispatch(conversation, functions=[WEATHER])
    told = data((await process.heard(last=["waitForChannelMessageBegin"]))[-1])
    before = await process.texts(conversation) if conversation else []
    await process.die()
    stage.lapse(process)

    other = await stage.process()
    other.model.plans = [[[TextDelta("Blue and grey.")], [finish()]]]
    events = await answered(other, ["blue", "grey"])
    after = events[types(events).index("attempt") :]
    again = [data(event) for event in after if event["type"] == "waitForChannelMessageBegin"]
    assert again[0]["id"] == told["id"]
    assert len({str(each["id"]) for each in again}) == 2
    assert data(after[0]) == {"attempt": 2}
    result = data(events[-1])
    assert (result["text"], result["usage"]) == ("Blue and grey.", {"token": 14})
    assert len(other.model.prompts) == 1
    row = await other.row()
    assert (row.state, row.attempt) == ("done", 2)
    if conversation is not None:
        texts = await other.texts(conversation)
        assert texts[: len(before)] == before
        assert texts[-1] == "Blue and grey."
        assert texts.count("Let me look.") == 1


@pytest.mark.parametrize("kind", ["dispatch", "complete"])
async def test_a_turn_that_waits_for_another_process_goes_on_once_that_died_and_its_turn_was_adopted(
    stage: Stage, kind: str
) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    await process.dispatch(conversation, "first")
    await asked(process)

    # It has room for one turn, and the one that waits takes it.
    other = await stage.process(TurnSettings(wait=20, dispatches=1))
    if kind == "dispatch":
        await other.dispatch(conversation, "second", "another-channel-of-24-or-more")
    else:
        other.complete(conversation, "second")
    await asyncio.sleep(0.1)
    await process.die()
    stage.lapse(process)

    assert types(await other.heard())[-1] == "result"
    await asked(other, 2)
    await other.turns._running.wait(2)
    assert await other.texts(conversation) == ["first", "One two", "second", "One two"]


async def answered(process: Process, answers: list[object]) -> list[Mapping[str, object]]:
    """Answer the calls that are made since the turn was taken over; return all events."""
    events: list[Mapping[str, object]] = []
    async with asyncio.timeout(60), process.channels.subscribe(ACCOUNT, CHANNEL, history=1000) as batches:
        async for batch in batches:
            for message in batch:
                events.append(msgspec.json.decode(message.data, type=dict[str, object]))
                if events[-1]["type"] == "waitForChannelMessageBegin" and "attempt" in types(events):
                    await process.answer(answers.pop(0))
            if events[-1]["type"] == "result":
                break
    return events


async def test_a_turn_whose_caller_is_to_answer_ends_so_after_a_crash_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process()
    process.model.plans = [[[call()], [finish("calls")]]]
    conversation, settling = await process.conversation(), asyncio.Event()

    async def never(*_args: object, **_kwargs: object) -> None:
        settling.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(process.storage, "settle_turn", never)
    unanswered = {key: value for key, value in WEATHER.items() if key != "result"}
    await process.dispatch(conversation, functions=[unanswered])
    await settling.wait()
    await process.die()
    stage.lapse(process)
    other = await stage.process()
    events = await other.heard()
    assert data(events[-1])["end"] == {"reason": "activity"}
    assert other.model.prompts == []


async def test_text_that_was_stored_as_a_message_is_not_kept_once_more_by_a_crash(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await stage.process()
    process.model.plans = [[[TextDelta("Let me look."), call()], [finish("calls")]]]
    conversation, step = await process.conversation(), process.storage.store_step

    async def slowly(*args: object, **kwargs: object) -> None:
        await step(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await asyncio.sleep(0.15)  # a flush comes between

    monkeypatch.setattr(process.storage, "store_step", slowly)
    request = {"text": "hi", "functions": [WEATHER]}
    turn = process.turns.complete(ACCOUNT, conversation, msgspec.convert(request, ConversationCompleteRequest))
    await until(lambda: any(isinstance(event, WaitForChannelMessageBeginEvent) for event in turn.events))
    await process.die()
    stage.lapse(process)
    other = await stage.process()
    async with asyncio.timeout(60):
        while True:
            if (await other.row(conversation)).state == "interrupted":
                break
            await asyncio.sleep(0.01)
    assert (await other.texts(conversation)).count("Let me look.") == 1


async def test_at_shutdown_dispatched_turns_are_handed_over_and_others_broken_off(stage: Stage) -> None:
    process = await halfway(stage, TurnSettings(dispatches=1))
    conversation = await process.conversation()
    completed = process.complete(conversation)
    await process.dispatch(None, channel="another-channel-of-24-or-more")
    await asked(process, 2)
    await process.dispatch(None)
    await process.turns.shutdown(0.05)
    assert "shutting down" in str(completed.failure)
    assert await process.texts(conversation) == ["hi", "Half"]
    assert (await process.row(conversation)).state == "aborted"
    other = await stage.process()
    running = await other.heard("another-channel-of-24-or-more")
    waiting = await other.heard()
    assert "attempt" in types(running)
    assert "attempt" not in types(waiting)
    assert types(running)[-1] == types(waiting)[-1] == "result"


async def test_what_waits_is_handed_over_when_a_process_is_told_to_stop_and_what_runs_after_the_grace(
    stage: Stage,
) -> None:
    process = await halfway(stage, TurnSettings(dispatches=1))
    await process.dispatch(None, channel="another-channel-of-24-or-more")
    await asked(process)
    await process.dispatch(None)
    other = await stage.process()
    closing = asyncio.create_task(process.turns.shutdown(3))
    assert types(await other.heard())[-1] == "result"
    assert not closing.done()
    assert (await other.row(channel="another-channel-of-24-or-more")).attempt == 1
    process.model.go_on.set()
    await closing
    assert (await other.row(channel="another-channel-of-24-or-more")).state == "done"


async def test_a_process_that_stops_begins_nothing_more_and_says_when_to_try_again(stage: Stage) -> None:
    process = await halfway(stage)
    conversation = await process.conversation()
    first = process.complete(conversation, key=keyed())
    await asked(process)
    closing = asyncio.create_task(process.turns.shutdown(5))
    await asyncio.sleep(0.02)
    with pytest.raises(Unavailable) as refused:
        process.complete(conversation, "late")
    assert refused.value.retry_after == 1.0
    with pytest.raises(Unavailable):
        await process.dispatch(None)
    assert process.complete(conversation, key=keyed()) is first
    process.model.go_on.set()
    await closing
    assert await text_of(first) == "Half and half"


async def test_a_turn_that_ends_within_the_grace_is_left_to_end(stage: Stage) -> None:
    process = await halfway(stage)
    completed = process.complete(await process.conversation())
    await asked(process)
    closing = asyncio.create_task(process.turns.shutdown(600))
    await asyncio.sleep(0.02)
    process.model.go_on.set()
    async with asyncio.timeout(60):
        await closing
    assert await text_of(completed) == "Half and half"
