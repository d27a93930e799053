"""The contract of every adapter: turns, from their beginning to their end, and the leases they run under."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
from tests.server.storage.scene import DAY, HOUR, START, Scene, message, new_turn, once, published

from turnwise.server.errors import Conflict, Forbidden, NotFound
from turnwise.server.storage.base import AlreadyDone, Exchange, MessageQuery, UsedTokens
from turnwise.server.storage.journal import Busy, Flush, Place, TurnLost, TurnRow

NOTHING = Exchange(messages=[])


async def found(scene: Scene, conversation_id: str) -> TurnRow:
    turn = await scene.storage.find_turn(scene.me, conversation_id=conversation_id)
    assert turn is not None
    return turn


async def settle(scene: Scene, place: Place, *texts: str, **more: Any) -> None:
    exchange = Exchange(messages=[message(text, type="bot") for text in texts])
    values: dict[str, Any] = {"state": "done", "reason": "stop", "now": START + 9, **more}
    await scene.storage.settle_turn(place, exchange, **values)


def writes(scene: Scene, place: Place) -> dict[str, Awaitable[object]]:
    """Return every write of a running turn, but for flushes, which do not raise."""
    return {
        "step": scene.storage.store_step(place, Exchange(messages=[message("zombie")]), steps=b"zombie"),
        "settle": settle(scene, place, "zombie"),
        "resume": scene.storage.resume_turn(place, message("zombie"), recent=1, now=START),
        "run_stateless": scene.storage.run_stateless(place, now=START),
    }


async def assert_lost(scene: Scene, place: Place) -> None:
    """Check that a place can write nothing."""
    tries = writes(scene, place)
    outcomes = await asyncio.gather(*tries.values(), return_exceptions=True)
    assert dict(zip(tries, map(type, outcomes), strict=True)) == dict.fromkeys(tries, TurnLost)
    flushed = await scene.storage.flush([Flush(place=place, text="zombie", tokens=1, published=published("1"))])
    assert flushed == ([place], [])
    assert await scene.storage.stored_seqs([(scene.me, "channel")]) == [0]


# Beginning and end


async def test_turn_is_stored_with_the_users_message_and_reads_the_history(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation("one", "two")
    turn = new_turn(conversation_id=id_, kind="receive", request=b"again")
    said = message("three")
    start = await scene.storage.start_turn(turn, said, recent=2)
    assert [item.text for item in start.history] == ["two", "three"]
    assert start.conversation == await scene.storage.fetch_conversation(scene.me, id_)
    assert await found(scene, id_) == TurnRow(
        id=turn.id,
        account_id=scene.me,
        conversation_id=id_,
        channel_id=None,
        kind="receive",
        state="running",
        attempt=1,
        process_id="p",
        message_id=said.id,
        request=b"again",
        steps=None,
        text="",
        tokens=0,
        reason=None,
        created_at=START,
        started_at=START,
        ended_at=None,
    )


async def test_turn_moves_its_conversation_and_needs_no_history(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation("one", backstory="story", meta={"m": 1})
    start = await scene.storage.start_turn(new_turn(conversation_id=id_), message(at=START + 3), recent=0)
    assert list(start.history) == []
    assert start.conversation == await scene.storage.fetch_conversation(scene.me, id_)
    assert (start.conversation.backstory, start.conversation.updated_at) == ("story", START + 3)


async def test_turn_without_a_message_goes_on_from_what_is_stored(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation("one")
    start = await scene.storage.start_turn(new_turn(conversation_id=id_), None, recent=10)
    assert [item.text for item in start.history] == ["one"]
    assert start.conversation.updated_at == START
    assert await scene.texts(id_) == ["one"]
    assert (await found(scene, id_)).message_id is None


async def test_end_stores_messages_usage_and_state_and_forgets_the_request(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    used = [UsedTokens(model="m", input_tokens=5, output_tokens=2, at=START)]
    await scene.storage.settle_turn(
        place,
        Exchange(messages=[message("bye", type="bot")], used=used),
        state="done",
        reason="stop",
        now=START + 5,
        tokens=7,
    )
    turn = await found(scene, id_)
    assert (turn.state, turn.reason, turn.ended_at, turn.tokens) == ("done", "stop", START + 5, 7)
    assert (turn.request, turn.steps) == (b"", None)
    assert await scene.texts(id_) == ["hello", "bye"]
    usage = await scene.storage.conversation_usage(scene.me, id_, begin=START, end=START + 1)
    assert (usage.tokens, usage.messages) == (7, 2)


async def test_turn_that_has_ended_cannot_be_written(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    await settle(scene, place)
    await assert_lost(scene, place)
    assert await scene.texts(id_) == ["hello"]


async def test_one_turn_of_a_conversation_runs_and_another_waits(scene: Scene) -> None:
    await scene.process()
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.start(id_)
    for process in ("p", "q"):
        with pytest.raises(Busy):
            await scene.start(id_, "me too", process=process)
    other = await scene.conversation()
    await scene.start(other)
    await settle(scene, place, "bye")
    await scene.start(id_, "now me", process="q")
    assert await scene.texts(id_) == ["hello", "bye", "now me"]


async def test_of_turns_that_begin_at_once_one_begins(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    tries = await asyncio.gather(*(scene.start(id_, str(n)) for n in range(20)), return_exceptions=True)
    assert sum(isinstance(item, Place) for item in tries) == 1
    assert sum(isinstance(item, Busy) for item in tries) == 19
    assert len(await scene.texts(id_)) == 1
    assert scene.adapter.rows("turns") == 1


async def test_turn_of_a_conversation_that_is_not_there_or_not_ours_is_refused(scene: Scene) -> None:
    await scene.process()
    foreign = await scene.conversation(account=scene.other)
    expired = await scene.conversation(expires_at=START)
    for id_, refusal in ((foreign, Forbidden), (expired, NotFound), ("nowhere", NotFound)):
        with pytest.raises(refusal):
            await scene.start(id_)
        with pytest.raises(refusal):
            await scene.queue("channel", id_)
        with pytest.raises(refusal):
            await scene.storage.find_turn(scene.me, conversation_id=id_)
        with pytest.raises(refusal):
            await scene.storage.cancel_turn(scene.me, conversation_id=id_)
    assert scene.adapter.rows("turns") == 0


async def test_turn_id_is_used_once(scene: Scene) -> None:
    await scene.process()
    turn = new_turn(conversation_id=await scene.conversation())
    await scene.storage.start_turn(turn, None, recent=1)
    with pytest.raises(Conflict):
        await scene.storage.start_turn(replace(turn, conversation_id=await scene.conversation()), None, recent=1)


async def test_turn_ends_even_where_its_conversation_was_deleted(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_, kind="dispatch", channel_id="channel")
    await scene.storage.delete_conversation(scene.me, id_)
    with pytest.raises(NotFound):
        await scene.storage.store_step(place, Exchange(messages=[message()]), steps=b"")
    with pytest.raises(NotFound):
        await settle(scene, place, "bye", published=published("bye"))
    turn = await scene.storage.find_turn(scene.me, channel_id="channel")
    assert turn is not None
    assert turn.state == "done"
    assert await scene.storage.stored_seqs([(scene.me, "channel")]) == [1]


async def test_deleting_a_conversation_cancels_its_turns_and_no_others(scene: Scene) -> None:
    await scene.process()
    id_, other = await scene.conversation(), await scene.conversation()
    running, waiting = await scene.start(id_), await scene.queue("channel", id_)
    await scene.start(other)
    await scene.queue("another channel", other)
    await scene.storage.delete_conversation(scene.me, id_)
    assert set(await scene.storage.cancelled_turns("p")) == {running.turn_id, waiting.turn_id}


async def test_expired_conversation_that_is_purged_cancels_its_turns(scene: Scene) -> None:
    await scene.process()
    place = await scene.start(await scene.conversation(expires_at=START + 1))
    scene.clock.now = START + 1
    while await scene.storage.purge(now=START + 1):
        pass
    assert await scene.storage.cancelled_turns("p") == [place.turn_id]


async def test_running_turn_is_found_before_a_newer_one_that_waits(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    running = await scene.start(id_)
    waiting = await scene.queue("channel", id_)
    assert (await found(scene, id_)).id == running.turn_id
    await settle(scene, running)
    assert (await found(scene, id_)).id == waiting.turn_id


async def test_newest_turn_of_a_conversation_is_found(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    assert await scene.storage.find_turn(scene.me, conversation_id=id_) is None
    for number in range(3):
        place = await scene.start(id_, now=START + number)
        assert (await found(scene, id_)).id == place.turn_id
        await settle(scene, place)
        assert (await found(scene, id_)).id == place.turn_id


# Idempotency keys


async def test_key_is_remembered_with_the_message_and_later_with_the_answer(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    turn, said = new_turn(conversation_id=id_), message()
    await scene.storage.start_turn(turn, said, recent=1, once=once())
    with pytest.raises(AlreadyDone) as running:
        await scene.storage.start_turn(new_turn(conversation_id=id_), message(), recent=1, once=once())
    assert (running.value.message_id, running.value.answer) == (said.id, None)
    known = await scene.storage.find_once(scene.me, "/path", "key")
    assert known is not None
    assert (known.body, known.answer, known.message_id) == (b"body", None, said.id)
    await settle(scene, Place(turn_id=turn.id, process_id="p", attempt=1), once=once(answer=b"answer"))
    with pytest.raises(AlreadyDone) as ended:
        await scene.storage.start_turn(new_turn(conversation_id=id_), message(), recent=1, once=once())
    assert (ended.value.message_id, ended.value.answer) == (said.id, b"answer")
    assert scene.adapter.rows("turns") == 1
    later = once(now=START + DAY)
    await scene.storage.start_turn(new_turn(conversation_id=id_), message(), recent=1, once=later)
    assert await scene.storage.find_once(scene.me, "/path", "key") is not None


async def test_refused_turn_leaves_no_key(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    await scene.start(id_)
    with pytest.raises(Busy):
        await scene.storage.start_turn(new_turn(conversation_id=id_), message(), recent=1, once=once())
    with pytest.raises(NotFound):
        await scene.storage.start_turn(new_turn(conversation_id="nowhere"), message(), recent=1, once=once())
    assert await scene.storage.find_once(scene.me, "/path", "key") is None
    scene.adapter.lapse("p")
    with pytest.raises(TurnLost):
        await scene.storage.start_turn(new_turn(conversation_id=id_), message(), recent=1, once=once())
    assert await scene.storage.find_once(scene.me, "/path", "key") is None


async def test_end_of_a_key_that_has_its_answer_changes_nothing(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    await scene.storage.remember(scene.me, once(answer=b"first"))
    place = await scene.start(id_)
    with pytest.raises(AlreadyDone):
        await settle(scene, place, "second", once=once(answer=b"second"))
    assert (await found(scene, id_)).state == "running"
    await settle(scene, place)
    assert await scene.texts(id_) == ["hello"]


# What is journaled


async def test_a_step_that_is_stored_is_not_stored_again(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    for steps in (b"1", b"1", b"2", b"2"):
        said = Exchange(messages=[message(f"step {steps.decode()}", type="bot")])
        await scene.storage.store_step(place, said, steps=steps, published=published(steps.decode()))
    assert await scene.texts(id_) == ["hello", "step 1", "step 2"]
    assert await scene.storage.stored_seqs([(scene.me, "channel")]) == [2]
    await settle(scene, place)
    with pytest.raises(TurnLost):
        await scene.storage.store_step(place, NOTHING, steps=b"2")


async def test_text_is_journaled_until_a_step_or_the_end(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    for number, text in enumerate(("Once ", "upon ", "", "a time"), 1):
        assert await scene.storage.flush([Flush(place=place, text=text, tokens=number)]) == ([], [])
    turn = await found(scene, id_)
    assert (turn.text, turn.tokens) == ("Once upon a time", 4)
    await scene.storage.store_step(place, Exchange(messages=[message("Once upon a time", type="bot")]), steps=b"1")
    turn = await found(scene, id_)
    assert (turn.text, turn.tokens, turn.steps) == ("", 4, b"1")
    await scene.storage.flush([Flush(place=place, text="there", tokens=5)])
    assert (await found(scene, id_)).text == "there"
    await settle(scene, place, "there was")
    turn = await found(scene, id_)
    assert (turn.text, turn.tokens, turn.steps) == ("", 5, None)
    assert scene.adapter.rows("turn_events") == 0
    assert await scene.texts(id_) == ["hello", "Once upon a time", "there was"]


async def test_flush_that_is_repeated_stores_what_was_not_stored_and_nothing_twice(scene: Scene) -> None:
    await scene.process()
    first, other = [await scene.conversation() for _ in range(2)]
    text, events = await scene.start(first), await scene.start(other)
    start = await scene.storage.reserve_numbers(scene.me, "channel", 10)
    said = [replace(published(f'"{number}"'), last_seq=start + number) for number in range(3)]
    known = [
        Flush(place=text, text="Once ", tokens=1),
        Flush(place=text, text="upon ", tokens=2),
        *(Flush(place=events, tokens=1, published=each) for each in said[:2]),
    ]
    assert await scene.storage.flush(known) == ([], [])
    fresh = [Flush(place=text, text="a time", tokens=4), Flush(place=events, tokens=2, published=said[2])]
    everything = [replace(flush, again=True) for flush in [*known, *fresh]]
    assert await scene.storage.flush(everything) == ([], [])
    assert await scene.storage.flush(everything) == ([], [])
    assert (await found(scene, first)).text == "Once upon a time"
    rows = await scene.storage.channel_rows(scene.me, "channel", after=0, limit=10, now=START)
    assert [row.data.strip() for row in rows] == [b'"0"', b'"1"', b'"2"']


async def test_turn_that_was_never_flushed_leaves_no_events(scene: Scene) -> None:
    await scene.process()
    place = await scene.start(await scene.conversation())
    assert await scene.storage.flush([Flush(place=place)]) == ([], [])
    assert await scene.storage.flush([]) == ([], [])
    assert scene.adapter.rows("turn_events") == 0


async def test_waiting_turn_is_not_lost(scene: Scene) -> None:
    await scene.process()
    place = await scene.queue("channel")
    assert await scene.storage.flush([Flush(place=place)]) == ([], [])
    await scene.storage.cancel_turn(scene.me, channel_id="channel")
    assert await scene.storage.flush([Flush(place=place)]) == ([], [place.turn_id])


async def test_turns_of_several_processes_are_flushed_together_and_the_lost_are_named(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    ids = [await scene.conversation() for _ in range(4)]
    places = [await scene.start(id_, process=process) for id_, process in zip(ids, "ppqq", strict=True)]
    await settle(scene, places[1])
    await scene.storage.cancel_turn(scene.me, conversation_id=ids[2])
    lost, cancelled = await scene.storage.flush([Flush(place=place, text="x", tokens=1) for place in places])
    assert (lost, cancelled) == ([places[1]], [places[2].turn_id])
    assert [(await found(scene, id_)).text for id_ in ids] == ["x", "", "x", "x"]


# Leases


async def test_lease_is_renewed_while_it_lasts_and_never_after(scene: Scene) -> None:
    await scene.storage.register_process("p", lease_ms=HOUR)
    assert await scene.storage.renew_process("p", lease_ms=HOUR)
    scene.adapter.lapse("p")
    assert not await scene.storage.renew_process("p", lease_ms=HOUR)
    assert not await scene.storage.renew_process("nobody", lease_ms=HOUR)
    await scene.storage.register_process("short", lease_ms=1)
    await asyncio.sleep(0.01)
    assert not await scene.storage.renew_process("short", lease_ms=HOUR)


async def test_process_whose_lease_lapsed_can_write_nothing(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    queued = await scene.queue("another channel")
    scene.adapter.lapse("p")
    await assert_lost(scene, place)
    await assert_lost(scene, queued)
    with pytest.raises(TurnLost):
        await scene.start(await scene.conversation())
    with pytest.raises(TurnLost):
        await scene.queue("a third channel")
    assert await scene.texts(id_) == ["hello"]


async def test_renewed_lease_goes_on_and_a_missing_one_is_told(scene: Scene) -> None:
    await scene.process()
    place = await scene.start(await scene.conversation())
    assert await scene.storage.renew_process("p", lease_ms=HOUR)
    await settle(scene, place)
    await scene.storage.leave_process("p")
    assert not await scene.storage.renew_process("p", lease_ms=HOUR)


async def test_turns_of_the_living_are_not_claimed(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    await scene.start(id_)
    await scene.queue("channel")
    assert await scene.storage.claim_lapsed("q", limit=10, now=START) == []
    assert (await found(scene, id_)).state == "running"


@pytest.mark.parametrize("kind", ["complete", "receive"])
async def test_turn_of_the_dead_is_settled_with_what_it_had_said(scene: Scene, kind: str) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.start(id_, kind=kind)
    await scene.storage.flush([Flush(place=place, text="Once ", tokens=1), Flush(place=place, text="upon", tokens=2)])
    scene.adapter.lapse("p")
    assert await scene.storage.claim_lapsed("q", limit=10, now=START + 3) == []
    turn = await found(scene, id_)
    assert (turn.state, turn.reason, turn.ended_at, turn.tokens) == ("interrupted", "crash", START + 3, 2)
    *_, said = await scene.storage.list_messages(scene.me, id_, MessageQuery())
    assert (said.type, said.text) == ("bot", "Once upon")
    assert said.meta == {"interrupted": True, "reason": "crash"}
    assert scene.adapter.rows("turn_events") == 0
    await assert_lost(scene, place)
    await scene.start(id_, "again", process="q")
    assert await scene.texts(id_) == ["hello", "Once upon", "again"]


async def test_turn_of_the_dead_that_said_nothing_leaves_no_message(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    await scene.start(id_)
    await scene.storage.leave_process("p")
    await scene.storage.claim_lapsed("q", limit=10, now=START)
    assert (await found(scene, id_)).state == "interrupted"
    assert await scene.texts(id_) == ["hello"]


async def test_turn_of_the_dead_in_a_conversation_that_was_deleted_is_settled(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.start(id_)
    await scene.storage.flush([Flush(place=place, text="x", tokens=1)])
    await scene.storage.delete_conversation(scene.me, id_)
    scene.adapter.lapse("p")
    assert await scene.storage.claim_lapsed("q", limit=10, now=START) == []
    scene.clock.now += 2 * DAY
    while await scene.storage.purge(now=scene.clock.now):
        pass
    assert scene.adapter.rows("turns") == 0


async def test_dispatch_of_the_dead_is_adopted_and_goes_on(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.queue("channel-1", id_)
    await scene.storage.resume_turn(place, message("do it"), recent=1, now=START)
    await scene.storage.store_step(place, Exchange(messages=[message("step", type="bot")]), steps=b"1")
    scene.adapter.lapse("p")
    (turn,) = await scene.storage.claim_lapsed("q", limit=10, now=START)
    assert (turn.id, turn.attempt, turn.process_id) == (place.turn_id, 2, "q")
    assert (turn.state, turn.steps, turn.request) == ("running", b"1", b"request")
    with pytest.raises(Busy):
        await scene.start(id_, "between", process="q")
    await assert_lost(scene, place)
    await assert_lost(scene, Place(turn_id=place.turn_id, process_id="q", attempt=1))
    adopted = Place(turn_id=place.turn_id, process_id="q", attempt=2)
    start = await scene.storage.resume_turn(adopted, message("do it"), recent=5, now=START)
    assert [item.text for item in start.history] == ["do it", "step"]
    await settle(scene, adopted, "done")
    assert await scene.texts(id_) == ["do it", "step", "done"]
    assert await scene.storage.claim_lapsed("q", limit=10, now=START) == []


async def test_oldest_turns_are_claimed_first_and_no_more_than_asked(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    queued = [await scene.queue(f"channel-{n}") for n in range(5)]
    await scene.storage.leave_process("p")
    first = await scene.storage.claim_lapsed("q", limit=2, now=START)
    rest = await scene.storage.claim_lapsed("q", limit=10, now=START)
    assert [turn.id for turn in first] == [place.turn_id for place in queued[:2]]
    assert [turn.id for turn in rest] == [place.turn_id for place in queued[2:]]
    assert {turn.state for turn in [*first, *rest]} == {"waiting"}


async def test_dead_claim_nothing(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    await scene.queue("channel")
    scene.adapter.lapse("p")
    scene.adapter.lapse("q")
    assert await scene.storage.claim_lapsed("q", limit=10, now=START) == []
    assert await scene.storage.claim_lapsed("nobody", limit=10, now=START) == []
    await scene.process("r")
    assert len(await scene.storage.claim_lapsed("r", limit=10, now=START)) == 1


async def test_turn_is_adopted_by_one(scene: Scene) -> None:
    await scene.process("p")
    for number in range(10):
        await scene.queue(f"channel-{number}")
    await scene.storage.leave_process("p")
    others = [await scene.process(f"other-{number}") for number in range(5)]
    claims = await asyncio.gather(*(scene.storage.claim_lapsed(id_, limit=3, now=START) for id_ in others))
    adopted = [turn.id for claim in claims for turn in claim]
    assert len(adopted) == len(set(adopted)) == 10


async def test_process_that_comes_back_under_its_id_owns_nothing_of_before(scene: Scene) -> None:
    await scene.process("p")
    place = await scene.queue("channel-1")
    await scene.storage.run_stateless(place, now=START)
    scene.adapter.lapse("p")
    await scene.process("p")
    await assert_lost(scene, place)
    (turn,) = await scene.storage.claim_lapsed("p", limit=10, now=START)
    assert (turn.process_id, turn.attempt) == ("p", 2)
    await assert_lost(scene, place)
    await settle(scene, replace(place, attempt=2))


async def test_dead_complete_does_not_block_the_next_turn(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.start(id_)
    await scene.storage.flush([Flush(place=place, text="half a word", tokens=1)])
    scene.adapter.lapse("p")
    turn = new_turn("q", conversation_id=id_, now=START + 4)
    start = await scene.storage.start_turn(turn, message("next"), recent=10)
    assert [item.text for item in start.history] == ["hello", "half a word", "next"]
    assert start.history[1].meta == {"interrupted": True, "reason": "crash"}
    await assert_lost(scene, place)
    await settle(scene, Place(turn_id=turn.id, process_id="q", attempt=1))
    assert await scene.storage.claim_lapsed("q", limit=10, now=START) == []


async def test_dead_complete_does_not_block_a_dispatch(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.start(id_)
    queued = await scene.queue("channel-1", id_, process="q")
    with pytest.raises(Busy):
        await scene.storage.resume_turn(queued, message("do it"), recent=1, now=START)
    await scene.storage.flush([Flush(place=place, text="half a word", tokens=1)])
    scene.adapter.lapse("p")
    start = await scene.storage.resume_turn(queued, message("do it"), recent=9, now=START)
    assert [item.text for item in start.history] == ["hello", "half a word", "do it"]


async def test_dead_dispatch_blocks_until_it_is_adopted_and_has_ended(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    queued = await scene.queue("channel-1", id_)
    await scene.storage.resume_turn(queued, None, recent=1, now=START)
    scene.adapter.lapse("p")
    with pytest.raises(Busy):
        await scene.start(id_, process="q")
    await scene.storage.claim_lapsed("q", limit=1, now=START)
    await settle(scene, Place(turn_id=queued.turn_id, process_id="q", attempt=2))
    await scene.start(id_, process="q")


async def test_storages_over_one_database_share_turns_and_leases(scene: Scene) -> None:
    other = scene.adapter.storage(scene.clock)
    await other.open()
    try:
        for number in range(20):
            await scene.process(f"dead-{number}")
            await scene.queue(f"channel-{number}", process=f"dead-{number}")
            await scene.storage.leave_process(f"dead-{number}")
        await scene.process("p")
        await other.register_process("q", lease_ms=HOUR)
        claims = await asyncio.gather(
            *(
                storage.claim_lapsed(id_, limit=3, now=START)
                for storage, id_ in ((scene.storage, "p"), (other, "q")) * 6
            )
        )
        adopted = [turn for claim in claims for turn in claim]
        assert len({turn.id for turn in adopted}) == len(adopted) == 20
        id_ = await scene.conversation()
        place = await scene.start(id_)
        with pytest.raises(Busy):
            await other.start_turn(new_turn("q", conversation_id=id_), None, recent=1)
        await other.flush([Flush(place=place, text="x", tokens=1)])
        assert (await found(scene, id_)).text == "x"
    finally:
        await other.close()


# Dispatches


async def test_channel_makes_a_dispatch_happen_once(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.queue("channel", id_)
    again = await scene.storage.queue_turn(
        new_turn(kind="dispatch", conversation_id=id_, channel_id="channel", request=b"other")
    )
    assert again is not None
    assert (again.id, again.state, again.request) == (place.turn_id, "waiting", b"request")
    await settle(scene, place)
    again = await scene.storage.queue_turn(new_turn(kind="dispatch", conversation_id=id_, channel_id="channel"))
    assert again is not None
    assert (again.id, again.state) == (place.turn_id, "done")
    for elsewhere in (None, await scene.conversation()):
        turn = new_turn(kind="dispatch", conversation_id=elsewhere, channel_id="channel")
        with pytest.raises(Conflict, match="for another conversation or for none"):
            await scene.storage.queue_turn(turn, once=once())
    theirs = new_turn(kind="dispatch", channel_id="channel", account_id=scene.other)
    assert await scene.storage.queue_turn(theirs) is None


async def test_queued_turns_message_is_stored_when_it_runs_and_once(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.queue("channel", id_)
    assert await scene.texts(id_) == []
    said = message("do it")
    for _ in range(2):
        await scene.storage.resume_turn(place, said, recent=1, now=START + 2)
    assert await scene.texts(id_) == ["do it"]
    turn = await found(scene, id_)
    assert (turn.message_id, turn.state, turn.started_at) == (said.id, "running", START + 2)


async def test_queued_turn_waits_for_the_one_that_runs(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    running = await scene.start(id_)
    place = await scene.queue("channel", id_)
    with pytest.raises(Busy):
        await scene.storage.resume_turn(place, message("do it"), recent=1, now=START)
    await settle(scene, running)
    await scene.storage.resume_turn(place, message("do it"), recent=1, now=START)
    assert await scene.texts(id_) == ["hello", "do it"]


async def test_queued_turn_of_a_deleted_conversation_is_refused_and_can_be_settled(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.queue("channel", id_)
    await scene.storage.delete_conversation(scene.me, id_)
    with pytest.raises(NotFound):
        await scene.storage.resume_turn(place, message("do it"), recent=1, now=START)
    with pytest.raises(NotFound):
        await settle(scene, place, state="failed")
    turn = await scene.storage.find_turn(scene.me, channel_id="channel")
    assert turn is not None
    assert turn.state == "failed"


async def test_dispatch_without_a_conversation_keeps_its_steps(scene: Scene) -> None:
    await scene.process()
    place = await scene.queue("channel")
    with pytest.raises(TurnLost):
        await scene.storage.store_step(place, NOTHING, steps=b"too early")
    await scene.storage.run_stateless(place, now=START + 1)
    await scene.storage.store_step(place, NOTHING, steps=b"1", tokens=3, published=published("a", "b"))
    turn = await scene.storage.find_turn(scene.me, channel_id="channel")
    assert turn is not None
    assert (turn.state, turn.started_at, turn.steps, turn.tokens) == ("running", START + 1, b"1", 3)
    await settle(scene, place, published=published("c"))
    rows = await scene.storage.channel_rows(scene.me, "channel", after=0, limit=9, now=START)
    assert [(row.seq, row.count, row.data) for row in rows] == [(2, 2, b"a\nb"), (3, 1, b"c")]


async def test_turn_of_another_accounts_channel_is_not_found(scene: Scene) -> None:
    await scene.process()
    await scene.queue("channel")
    assert await scene.storage.find_turn(scene.other, channel_id="channel") is None
    assert await scene.storage.cancel_turn(scene.other, channel_id="channel") is None


# Cancelling


async def test_cancelled_turn_is_told_to_its_process(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    assert await scene.storage.cancelled_turns("p") == []
    turn = await scene.storage.cancel_turn(scene.me, conversation_id=id_)
    assert turn is not None
    assert (turn.id, turn.cancelled, turn.state) == (place.turn_id, True, "running")
    assert await scene.storage.cancelled_turns("p") == [place.turn_id]
    assert await scene.storage.flush([Flush(place=place)]) == ([], [place.turn_id])
    await settle(scene, place, "so far", state="aborted", reason="abort")
    assert await scene.storage.cancelled_turns("p") == []
    assert await scene.storage.cancel_turn(scene.me, conversation_id=id_) is None


async def test_running_turn_is_cancelled_before_the_waiting_ones(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    running = await scene.start(id_)
    queued = [await scene.queue(f"channel-{number}", id_) for number in range(2)]
    order: list[str] = []
    for _ in range(3):
        turn = await scene.storage.cancel_turn(scene.me, conversation_id=id_)
        assert turn is not None
        order.append(turn.id)
        await settle(scene, replace(running, turn_id=turn.id), state="aborted")
    assert order == [running.turn_id, *(place.turn_id for place in queued)]


async def test_waiting_complete_of_the_dead_is_aborted_at_once(scene: Scene) -> None:
    await scene.process()
    place = await queue_complete(scene, id_ := await scene.conversation())
    scene.adapter.lapse("p")
    turn = await scene.storage.cancel_turn(scene.me, conversation_id=id_)
    assert turn is not None
    assert (turn.id, turn.state, turn.ended_at) == (place.turn_id, "aborted", scene.clock.now)
    await scene.process("q")
    assert await scene.storage.claim_lapsed("q", limit=1, now=START) == []


async def test_waiting_dispatch_of_the_dead_that_is_cancelled_is_adopted_wherever_there_is_no_room(
    scene: Scene,
) -> None:
    await scene.process("p")
    await scene.process("q")
    await scene.queue("another channel")
    place = await scene.queue("channel")
    scene.adapter.lapse("p")
    turn = await scene.storage.cancel_turn(scene.me, channel_id="channel")
    assert turn is not None
    assert (turn.state, turn.cancelled) == ("waiting", True)
    (row,) = await scene.storage.claim_lapsed("q", limit=10, now=START, waiting=False)
    assert (row.id, row.cancelled) == (place.turn_id, True)


async def test_turn_that_was_cancelled_while_its_process_was_dead_is_adopted_as_cancelled(scene: Scene) -> None:
    await scene.process()
    place = await scene.queue("channel")
    await scene.storage.run_stateless(place, now=START)
    scene.adapter.lapse("p")
    assert await scene.storage.cancel_turn(scene.me, channel_id="channel") is not None
    await scene.process("q")
    (turn,) = await scene.storage.claim_lapsed("q", limit=1, now=START)
    assert turn.cancelled
    assert await scene.storage.cancelled_turns("q") == [turn.id]


# Upkeep


async def test_ended_turns_leave_the_disk_after_a_day_and_unfinished_ones_stay(scene: Scene) -> None:
    await scene.process()
    unfinished = await scene.queue("waits")
    for number in range(25):
        await settle(scene, await scene.queue(f"channel-{number}"), now=START + number)
    await scene.storage.purge(now=START + DAY - 1)
    assert scene.adapter.rows("turns") == 26
    await scene.storage.purge(now=START + DAY + 9)
    assert scene.adapter.rows("turns") == 16
    await scene.storage.purge(now=START + 2 * DAY)
    assert scene.adapter.rows("turns") == 1
    turn = await scene.storage.find_turn(scene.me, channel_id="waits")
    assert turn is not None
    assert turn.id == unfinished.turn_id


async def test_processes_that_died_leave_the_disk(scene: Scene) -> None:
    for number in range(3):
        await scene.process(f"p{number}")
    scene.adapter.lapse("p1")
    await scene.storage.purge(now=START)
    assert scene.adapter.rows("processes") == 2
    assert await scene.storage.renew_process("p0", lease_ms=HOUR)


@pytest.mark.parametrize("stateful", [True, False])
async def test_that_a_dispatch_runs_is_told_in_the_commit_that_lets_it_run(scene: Scene, stateful: bool) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.queue("channel", id_ if stateful else None)

    async def run(place: Place) -> None:
        if stateful:
            await scene.storage.resume_turn(place, message("hi"), recent=1, now=START, published=published("begun"))
        else:
            await scene.storage.run_stateless(place, now=START, published=published("begun"))

    with pytest.raises(TurnLost):
        await run(Place(turn_id=place.turn_id, process_id=place.process_id, attempt=2))
    assert await scene.storage.channel_rows(scene.me, "channel", after=0, limit=9, now=START) == []
    await run(place)
    (row,) = await scene.storage.channel_rows(scene.me, "channel", after=0, limit=9, now=START)
    assert row.data == b"begun"


# The line of a conversation


async def queue_complete(scene: Scene, conversation_id: str, process: str = "p", **more: Any) -> Place:
    turn = new_turn(process, conversation_id=conversation_id, **more)
    assert await scene.storage.queue_turn(turn) is None
    return Place(turn_id=turn.id, process_id=process, attempt=1)


async def resume(scene: Scene, place: Place, text: str = "hello", **more: Any) -> None:
    await scene.storage.resume_turn(place, message(text), recent=1, now=START, **more)


async def first_of(scene: Scene, *places: Place) -> list[Place]:
    found = await scene.storage.first_of([place.turn_id for place in places])
    return [place for place in places if place.turn_id in found]


async def test_turns_that_wait_run_in_the_order_they_came_whatever_their_processes_clocks_say(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    running = await scene.start(id_)
    line = [
        await queue_complete(scene, id_, process, now=START - number * HOUR)
        for number, process in enumerate(("p", "q", "p", "q"))
    ]
    assert await first_of(scene, *line) == []
    await settle(scene, running)
    while line:
        assert await first_of(scene, *line) == line[:1]
        for place in line[1:]:
            with pytest.raises(Busy):
                await resume(scene, place)
        with pytest.raises(Busy):
            await scene.start(id_)
        place = line.pop(0)
        await resume(scene, place, place.turn_id)
        assert (await found(scene, id_)).message_id is not None
        await settle(scene, place)
    await scene.start(id_)


async def test_turns_that_wait_in_other_conversations_are_nobodys_concern(scene: Scene) -> None:
    await scene.process()
    one, other = await scene.conversation(), await scene.conversation()
    running, waiting = await scene.start(one), await queue_complete(scene, one)
    elsewhere = await queue_complete(scene, other)
    assert await first_of(scene, waiting, elsewhere) == [elsewhere]
    await resume(scene, elsewhere)
    await settle(scene, running)
    assert await first_of(scene, waiting) == [waiting]


@pytest.mark.parametrize("how", ["lapses", "leaves", "ends", "leaves the line", "is handed over"])
async def test_turn_that_waits_no_more_keeps_nobody_waiting(scene: Scene, how: str) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    gone = await scene.queue("channel", id_) if how == "is handed over" else await queue_complete(scene, id_)
    behind = await queue_complete(scene, id_, "q")
    match how:
        case "lapses":
            scene.adapter.lapse("p")
        case "leaves":
            await scene.storage.leave_process("p")
        case "ends":
            await settle(scene, gone, state="aborted")
        case "leaves the line":
            await scene.storage.leave_line(gone)
            assert await scene.storage.first_of([gone.turn_id]) == []
        case _:
            await scene.storage.hand_over("p", running=False)
    assert await first_of(scene, behind) == [behind]
    await resume(scene, behind)


async def test_turn_that_waits_behind_a_dead_complete_settles_it(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    running = await scene.start(id_)
    waiting = await queue_complete(scene, id_, "q")
    await scene.storage.flush([Flush(place=running, text="half a word", tokens=1)])
    scene.adapter.lapse("p")
    assert await first_of(scene, waiting) == [waiting]
    await resume(scene, waiting, "next")
    assert await scene.texts(id_) == ["hello", "half a word", "next"]


async def test_turn_that_waits_in_a_conversation_that_is_deleted_need_not_wait(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    await scene.start(id_)
    waiting = await queue_complete(scene, id_)
    await scene.storage.delete_conversation(scene.me, id_)
    assert await first_of(scene, waiting) == [waiting]
    with pytest.raises(NotFound):
        await resume(scene, waiting)


async def test_only_a_turn_that_waits_leaves_the_line(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    running = await scene.start(id_)
    waiting = await queue_complete(scene, id_)
    await scene.storage.leave_line(running)
    await scene.storage.leave_line(replace(waiting, attempt=2))
    await scene.storage.leave_line(replace(waiting, process_id="q"))
    assert scene.adapter.rows("turns") == 2
    await scene.storage.leave_line(waiting)
    assert scene.adapter.rows("turns") == 1
    with pytest.raises(TurnLost):
        await resume(scene, waiting)


async def test_turn_that_waited_remembers_its_key_when_it_runs(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    running = await scene.start(id_)
    first, again = await queue_complete(scene, id_), await queue_complete(scene, id_)
    assert await scene.storage.find_once(scene.me, "/path", "key") is None
    await settle(scene, running)
    await resume(scene, first, once=once())
    known = await scene.storage.find_once(scene.me, "/path", "key")
    assert known is not None
    assert known.message_id is not None
    await settle(scene, first, once=once(answer=b"answer"))
    with pytest.raises(AlreadyDone) as done:
        await resume(scene, again, once=once())
    assert done.value.answer == b"answer"
    assert (await scene.texts(id_)).count("hello") == 2


async def test_turn_that_waits_is_settled_when_its_process_dies_and_leaves_no_message(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    id_ = await scene.conversation()
    await queue_complete(scene, id_)
    scene.adapter.lapse("p")
    assert await scene.storage.claim_lapsed("q", limit=10, now=START) == []
    assert (await found(scene, id_)).state == "interrupted"
    assert await scene.texts(id_) == []


# Handing over, and sharing


async def test_dispatches_that_are_handed_over_are_adopted_at_once(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    waiting, running = await scene.queue("channel-1"), await scene.queue("channel-2")
    completed = await scene.start(await scene.conversation())
    await scene.storage.run_stateless(running, now=START)
    await scene.storage.hand_over("p", running=False)
    assert [row.id for row in await scene.storage.claim_lapsed("q", limit=10, now=START)] == [waiting.turn_id]
    await scene.storage.hand_over("p", running=True)
    await assert_lost(scene, running)
    assert [row.id for row in await scene.storage.claim_lapsed("q", limit=10, now=START)] == [running.turn_id]
    await settle(scene, completed)


async def test_turn_that_is_put_back_is_adopted_by_whoever_looks_first(scene: Scene) -> None:
    await scene.process("p")
    place = await scene.queue("channel-1")
    await scene.storage.put_back(replace(place, attempt=2))
    assert await scene.storage.claim_lapsed("p", limit=10, now=START) == []
    await scene.storage.put_back(place)
    (row,) = await scene.storage.claim_lapsed("p", limit=10, now=START)
    assert (row.id, row.attempt) == (place.turn_id, 2)
    await assert_lost(scene, place)


async def test_accounts_are_served_in_turn_when_turns_are_adopted(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    accounts: dict[str, str] = {}
    for number, account in enumerate([scene.me] * 5 + [scene.other] * 2):
        turn = new_turn("p", kind="dispatch", channel_id=f"channel-{number}", account_id=account)
        assert await scene.storage.queue_turn(turn) is None
        accounts[turn.id] = account
    await scene.storage.leave_process("p")
    served: list[str] = []
    while rows := await scene.storage.claim_lapsed("q", limit=2, now=START):
        assert len(rows) <= 2
        served += [accounts[row.id] for row in rows]
    assert served == [scene.me, scene.other] * 2 + [scene.me] * 3


async def test_what_waits_is_left_to_others_on_request_and_what_ran_is_not(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    await scene.queue("channel-1")
    running = await scene.queue("channel-2")
    await scene.storage.run_stateless(running, now=START)
    place = await scene.start(await scene.conversation())
    await scene.storage.leave_process("p")
    rows = await scene.storage.claim_lapsed("q", limit=1, now=START, waiting=False)
    assert [row.id for row in rows] == [running.turn_id]
    assert await scene.storage.claim_lapsed("q", limit=1, now=START, waiting=False) == []
    await assert_lost(scene, place)
    assert len(await scene.storage.claim_lapsed("q", limit=1, now=START)) == 1
