"""The contract of every adapter: messages, votes and usage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.server.storage.scene import DAY, START, Scene, message

from turnwise.server.errors import BadRequest, Conflict
from turnwise.server.storage.base import MessageQuery, UsedTokens, Vote
from turnwise.types.conversation import Order


async def texts(scene: Scene, conversation_id: str, query: MessageQuery | None = None) -> list[str]:
    page = await scene.storage.list_messages(scene.me, conversation_id, query or MessageQuery())
    return [item.text for item in page]


@pytest.mark.parametrize("text", ["", "nul \0 inside", "\u2028\r\n", "é\U0001f600", "x" * 1_000_000], ids=len)
async def test_fetch_returns_the_message_that_was_added(scene: Scene, text: str) -> None:
    conversation_id = await scene.conversation()
    given = message(text, type="activity", name="n", description="d", meta={"activity": {"type": "request"}})
    await scene.storage.add_messages(scene.me, conversation_id, [given])
    assert await scene.storage.fetch_message(scene.me, conversation_id, given.id) == given


async def test_messages_come_in_the_order_they_were_stored_whatever_their_times(scene: Scene) -> None:
    conversation_id = await scene.conversation("a", "b")
    await scene.message(conversation_id, "c", at=START - 50)
    await scene.storage.add_messages(
        scene.me, conversation_id, [message("d", at=START + 9), message("e", at=START + 8)]
    )
    assert await texts(scene, conversation_id) == ["a", "b", "c", "d", "e"]
    assert await texts(scene, conversation_id, MessageQuery(order="desc", take=2)) == ["e", "d"]


@pytest.mark.parametrize("used", [(), (UsedTokens(model="m", input_tokens=1, output_tokens=1, at=START),)], ids=len)
async def test_times_of_a_conversations_messages_never_go_back(scene: Scene, used: Sequence[UsedTokens]) -> None:
    conversation_id = await scene.conversation()
    for at in (START + 9, START + 5, START + 12):  # as processes store them whose clocks differ
        await scene.storage.add_messages(scene.me, conversation_id, [message(at=at)], used=used)
    stored = await scene.storage.list_messages(scene.me, conversation_id, MessageQuery())
    assert [each.created_at for each in stored] == [START + 9, START + 9, START + 12]
    assert [each.updated_at for each in stored] == [START + 9, START + 9, START + 12]
    await scene.storage.update_conversation(scene.me, conversation_id, {"name": "n"}, now=START + 7)
    assert (await scene.storage.fetch_conversation(scene.me, conversation_id)).updated_at == START + 12


async def test_conversations_updated_at_becomes_the_latest_messages(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    await scene.storage.add_messages(scene.me, conversation_id, [message(at=START + 9), message(at=START + 8)])
    assert (await scene.storage.fetch_conversation(scene.me, conversation_id)).updated_at == START + 9


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("take", [1, 4, 100])
async def test_pages_hold_each_message_once(scene: Scene, order: Order, take: int) -> None:
    conversation_id = await scene.conversation(*map(str, range(11)))
    found: list[str] = []
    cursor: str | None = None
    while page := await scene.storage.list_messages(
        scene.me, conversation_id, MessageQuery(cursor=cursor, order=order, take=take)
    ):
        found += [item.text for item in page]
        cursor = page[-1].id
    assert found == [str(number) for number in (range(11) if order == "asc" else range(10, -1, -1))]


async def test_cursor_that_was_deleted_meanwhile_goes_on_for_a_day(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    ids = [await scene.message(conversation_id, str(number)) for number in range(4)]
    await scene.storage.delete_message(scene.me, conversation_id, ids[1])
    await scene.storage.purge(now=START)
    assert await texts(scene, conversation_id, MessageQuery(cursor=ids[1])) == ["2", "3"]
    assert await scene.storage.purge(now=START + DAY) == 1
    with pytest.raises(BadRequest, match="cursor"):
        await texts(scene, conversation_id, MessageQuery(cursor=ids[1]))


async def test_message_of_another_conversation_is_no_cursor(scene: Scene) -> None:
    foreign = await scene.message(await scene.conversation())
    with pytest.raises(BadRequest, match="cursor"):
        await texts(scene, await scene.conversation(), MessageQuery(cursor=foreign))


async def test_update_changes_only_what_is_given_and_keeps_the_place(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    given = message("old", name="n", description="d", meta={"a": 1, "b": 2})
    await scene.storage.add_messages(scene.me, conversation_id, [given, message("next")])
    changes = {"text": "new", "type": "bot", "name": None, "meta": {"a": None, "c": 3}}
    await scene.storage.update_message(scene.me, conversation_id, given.id, changes, now=START + 5)
    expected = message("new", id=given.id, type="bot", description="d", meta={"b": 2, "c": 3}, updated_at=START + 5)
    assert await scene.storage.fetch_message(scene.me, conversation_id, given.id) == expected
    assert await texts(scene, conversation_id) == ["new", "next"]


async def test_update_refuses_fields_that_a_message_does_not_have(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    with pytest.raises(ValueError, match="nonsense"):
        await scene.storage.update_message(scene.me, conversation_id, message_id, {"nonsense": 1}, now=START)


async def test_sequence_goes_on_after_the_last_message_was_deleted(scene: Scene) -> None:
    conversation_id = await scene.conversation("a")
    message_id = await scene.message(conversation_id, "b")
    await scene.storage.delete_message(scene.me, conversation_id, message_id)
    await scene.message(conversation_id, "c")
    assert await texts(scene, conversation_id) == ["a", "c"]
    assert await texts(scene, conversation_id, MessageQuery(cursor=message_id)) == ["c"]


async def test_message_id_that_exists_in_the_conversation_is_a_conflict_and_none_is_stored(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id, "first")
    with pytest.raises(Conflict):
        await scene.storage.add_messages(
            scene.me, conversation_id, [message("a", at=START + 5), message("b", id=message_id, at=START + 5)]
        )
    assert await texts(scene, conversation_id) == ["first"]
    assert (await scene.storage.fetch_conversation(scene.me, conversation_id)).updated_at == START


async def test_text_that_is_no_unicode_is_refused_and_nothing_is_stored(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    with pytest.raises(BadRequest, match="surrogate"):
        await scene.storage.add_messages(scene.me, conversation_id, [message("fine"), message("\ud83d")])
    assert await texts(scene, conversation_id) == []


async def test_concurrent_messages_are_all_stored_in_the_order_of_each_sender(scene: Scene) -> None:
    ids = [await scene.conversation() for _ in range(2)]

    async def send(sender: int) -> None:
        for number in range(10):
            await scene.message(ids[sender % 2], f"{sender} {number}")

    await asyncio.gather(*(send(sender) for sender in range(20)))
    for which, conversation_id in enumerate(ids):
        stored = await texts(scene, conversation_id)
        assert len(stored) == 100
        for sender in range(which, 20, 2):
            assert [text for text in stored if text.startswith(f"{sender} ")] == [f"{sender} {n}" for n in range(10)]


# Usage


async def test_usage_sums_what_lies_between_begin_and_end(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    for at in (START, START + 1, START + 9, START + 10):
        used = [UsedTokens(model="m", input_tokens=1, output_tokens=100, at=at)] * 2
        await scene.storage.add_messages(scene.me, conversation_id, [message(at=at)], used=used)
    other = UsedTokens(model="other", input_tokens=0, output_tokens=1, at=START + 1)
    await scene.storage.add_messages(scene.me, conversation_id, [], used=[other])
    usage = await scene.storage.conversation_usage(scene.me, conversation_id, begin=START + 1, end=START + 10)
    assert (usage.tokens, usage.messages) == (405, 2)


async def test_usage_of_a_conversation_without_any_is_zero(scene: Scene) -> None:
    usage = await scene.storage.conversation_usage(scene.me, await scene.conversation(), begin=0, end=START * 2)
    assert (usage.tokens, usage.messages) == (0, 0)


# Votes


async def test_one_vote_counts_in_a_window(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    for at in (START, START + 1, START + 999):
        vote = Vote(value=100, reason="good", at=at, window=1000)
        await scene.storage.vote_conversation(scene.me, conversation_id, vote)
    assert scene.adapter.rows("votes") == 1
    await scene.storage.vote_conversation(
        scene.me, conversation_id, Vote(value=-100, reason=None, at=START + 1000, window=1000)
    )
    assert scene.adapter.rows("votes") == 2


async def test_votes_on_a_conversation_and_on_its_messages_do_not_meet(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    vote = Vote(value=1, reason=None, at=START, window=1000)
    await scene.storage.vote_conversation(scene.me, conversation_id, vote)
    for _ in range(2):
        message_id = await scene.message(conversation_id)
        for _ in range(2):
            await scene.storage.vote_message(scene.me, conversation_id, message_id, vote)
    assert scene.adapter.rows("votes") == 3
