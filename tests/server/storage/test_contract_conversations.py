"""The contract of every adapter: conversations, their lists and filters."""

from __future__ import annotations

import asyncio

import pytest
from tests.server.storage.scene import DAY, START, Scene, conversation, message

from turnwise.server.errors import BadRequest, Conflict
from turnwise.server.storage.base import ConversationQuery, Filter, MessageQuery
from turnwise.types.conversation import Order


async def listed(scene: Scene, query: ConversationQuery) -> list[str]:
    return [item.id for item in await scene.storage.list_conversations(scene.me, query)]


async def walked(scene: Scene, take: int, order: Order, meta: Filter, bot_ids: tuple[str, ...] = ()) -> list[str]:
    """Return all ids, page by page."""
    found: list[str] = []
    while True:
        cursor = found[-1] if found else None
        page = await listed(scene, ConversationQuery(cursor=cursor, take=take, order=order, meta=meta, bot_ids=bot_ids))
        if not page:
            return found
        found += page


async def test_fetch_returns_what_create_was_given(scene: Scene) -> None:
    given = conversation(
        name="n",
        description="d",
        meta={"a": {"b": [1, 2.5, None, "x\0y"]}, "é\0": "\U0001f600", "big": 2**62},
        bot_id="bot",
        model="gpt/temperature=0",
        backstory="b" * 1_000_000,
        dataset_id="data",
        skillset_id="skill",
        privacy=False,
        moderation=True,
        contact_id="contact",
        task_id="task",
        space_id="space",
        expires_at=START + DAY,
    )
    await scene.storage.create_conversation(scene.me, given, [])
    assert await scene.storage.fetch_conversation(scene.me, given.id) == given


async def test_fetch_keeps_absent_fields_absent_and_empty_ones_empty(scene: Scene) -> None:
    bare, empty = conversation(), conversation(name="", description="", meta={}, backstory="")
    for given in (bare, empty):
        await scene.storage.create_conversation(scene.me, given, [])
        assert await scene.storage.fetch_conversation(scene.me, given.id) == given


async def test_create_stores_its_messages_in_order(scene: Scene) -> None:
    conversation_id = await scene.conversation(*(str(number) for number in range(150)))
    page = await scene.storage.list_messages(scene.me, conversation_id, MessageQuery(take=200))
    assert [item.text for item in page] == [str(number) for number in range(150)]


@pytest.mark.parametrize("whose", ["me", "other"])
async def test_create_refuses_an_id_that_exists(scene: Scene, whose: str) -> None:
    given = conversation(name="first")
    await scene.storage.create_conversation(scene.me, given, [])
    second = conversation(id=given.id, name="second")
    with pytest.raises(Conflict):
        await scene.storage.create_conversation(getattr(scene, whose), second, [message()])
    assert (await scene.storage.fetch_conversation(scene.me, given.id)).name == "first"
    assert scene.adapter.rows("messages") == 0


async def test_update_changes_only_what_is_given(scene: Scene) -> None:
    given = conversation(name="n", description="d", backstory="b", bot_id="bot", expires_at=START + DAY)
    await scene.storage.create_conversation(scene.me, given, [])
    changes = {"name": "new", "bot_id": None, "expires_at": None, "privacy": True}
    await scene.storage.update_conversation(scene.me, given.id, changes, now=START + 7)
    assert await scene.storage.fetch_conversation(scene.me, given.id) == conversation(
        id=given.id, updated_at=START + 7, name="new", description="d", backstory="b", privacy=True
    )


async def test_update_merges_meta_key_by_key(scene: Scene) -> None:
    conversation_id = await scene.conversation(meta={"keep": 1, "replace": {"a": 1}, "remove": True})
    changes = {"meta": {"replace": {"b": 2}, "remove": None, "add": "x", "never": None}}
    await scene.storage.update_conversation(scene.me, conversation_id, changes, now=START)
    stored = await scene.storage.fetch_conversation(scene.me, conversation_id)
    assert stored.meta == {"keep": 1, "replace": {"b": 2}, "add": "x"}
    await scene.storage.update_conversation(scene.me, conversation_id, {"meta": None}, now=START)
    assert (await scene.storage.fetch_conversation(scene.me, conversation_id)).meta is None


async def test_filters_follow_an_update(scene: Scene) -> None:
    conversation_id = await scene.conversation(meta={"plan": "free", "kind": "a"}, bot_id="one")
    changes = {"meta": {"plan": "pro"}, "bot_id": "two", "contact_id": "contact"}
    await scene.storage.update_conversation(scene.me, conversation_id, changes, now=START)
    assert await listed(scene, ConversationQuery(meta={"plan": "free"})) == []
    assert await listed(scene, ConversationQuery(bot_ids=("one",))) == []
    query = ConversationQuery(meta={"plan": "pro", "kind": "a"}, bot_ids=("two",), contact_ids=("contact",))
    assert await listed(scene, query) == [conversation_id]


async def test_update_refuses_fields_that_a_conversation_does_not_have(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    with pytest.raises(ValueError, match="nonsense"):
        await scene.storage.update_conversation(scene.me, conversation_id, {"nonsense": 1}, now=START)


async def test_expiry_can_be_taken_back_before_it_comes(scene: Scene) -> None:
    conversation_id = await scene.conversation(expires_at=START + 1)
    await scene.storage.update_conversation(scene.me, conversation_id, {"expires_at": None}, now=START)
    scene.clock.now = START + DAY
    assert await listed(scene, ConversationQuery()) == [conversation_id]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("take", [1, 3, 100])
@pytest.mark.parametrize("filtered", ["unfiltered", "filtered", "alternatives"])
async def test_pages_hold_each_conversation_once_in_order_under_ties(
    scene: Scene, order: Order, take: int, filtered: str
) -> None:
    made: list[tuple[int, str]] = []
    for number in range(23):
        at = START + number // 5
        bot = "one" if number % 3 else "two"
        made.append((at, await scene.conversation(at=at, meta={"plan": "pro"}, bot_id=bot)))
    await scene.conversation(account=scene.other, meta={"plan": "pro"}, bot_id="one")
    meta: Filter = {"plan": "pro"} if filtered == "filtered" else {}
    bot_ids = ("one", "two", "none", "one") if filtered == "alternatives" else ()
    expected = [id_ for _, id_ in sorted(made, reverse=order == "desc")]
    assert await walked(scene, take, order, meta, bot_ids) == expected


async def test_cursor_that_was_deleted_meanwhile_goes_on_for_a_day(scene: Scene) -> None:
    ids = [await scene.conversation(at=START + number) for number in range(4)]
    await scene.storage.delete_conversation(scene.me, ids[2])
    while await scene.storage.purge(now=START):
        pass
    assert await listed(scene, ConversationQuery(cursor=ids[2])) == [ids[1], ids[0]]
    while await scene.storage.purge(now=START + DAY):
        pass
    with pytest.raises(BadRequest, match="cursor"):
        await listed(scene, ConversationQuery(cursor=ids[2]))


async def test_cursor_that_expired_meanwhile_goes_on(scene: Scene) -> None:
    ids = [await scene.conversation(at=START + number, expires_at=START + DAY + number) for number in range(3)]
    scene.clock.now = START + DAY + 1
    assert await listed(scene, ConversationQuery(cursor=ids[0], order="asc")) == [ids[2]]


async def test_unknown_cursor_is_refused(scene: Scene) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        await listed(scene, ConversationQuery(cursor="unknown"))


META = {
    "text": "pro",
    "number": 5,
    "half": 0.5,
    "whole": 3.0,
    "tiny": 1e-7,
    "yes": True,
    "no": False,
    "digits": "5",
    "word": "true",
    "nested": {"deep": {"er": "x"}, "flag": True},
    "dotted.key": "y",
    "nothing": None,
    "list": ["a"],
    "long": "z" * 5000,
    "": "empty",
}


@pytest.mark.parametrize(
    "meta",
    [
        {"text": "pro"},
        {"number": 5},
        {"number": 5.0},
        {"number": "5"},
        {"half": 0.5},
        {"half": "0.5"},
        {"whole": 3},
        {"whole": "3"},
        {"tiny": "1e-7"},
        {"yes": True},
        {"yes": "true"},
        {"no": False},
        {"digits": "5"},
        {"word": "true"},
        {"nested.deep.er": "x"},
        {"nested.flag": True},
        {"dotted.key": "y"},
        {"long": "z" * 5000},
        {"": "empty"},
        {"text": "pro", "number": 5, "yes": True, "nested.flag": True},
    ],
    ids=repr,
)
async def test_meta_filter_finds(scene: Scene, meta: Filter) -> None:
    await scene.conversation(meta={"text": "other"})
    await scene.conversation(meta=META, account=scene.other)
    conversation_id = await scene.conversation(meta=META)
    assert await listed(scene, ConversationQuery(meta=meta)) == [conversation_id]


@pytest.mark.parametrize(
    "meta",
    [
        {"text": "PRO"},
        {"text": ""},
        {"number": "5.0"},
        {"number": True},
        {"yes": 1},
        {"yes": False},
        {"digits": 5},
        {"word": True},
        {"nothing": "null"},
        {"nothing": ""},
        {"list": "a"},
        {"nested": "x"},
        {"deep.er": "x"},
        {"unknown": "pro"},
        {"long": "z" * 4999},
        {"text": "pro", "number": 6},
        {"botId": "bot"},
    ],
    ids=repr,
)
async def test_meta_filter_leaves_out(scene: Scene, meta: Filter) -> None:
    await scene.conversation(meta=META, bot_id="bot")
    assert await listed(scene, ConversationQuery(meta=meta)) == []


async def test_all_filters_hold_and_several_ids_are_alternatives(scene: Scene) -> None:
    made = {
        (bot, contact, task): await scene.conversation(bot_id=bot, contact_id=contact, task_id=task)
        for bot in "ab"
        for contact in "cd"
        for task in "ef"
    }
    query = ConversationQuery(bot_ids=("a",), contact_ids=("c", "d"), task_ids=("f", "g"), order="asc")
    assert await listed(scene, query) == [made["a", "c", "f"], made["a", "d", "f"]]
    assert await listed(scene, ConversationQuery(bot_ids=("a", "b"), meta={"none": "x"})) == []


async def test_text_that_is_no_unicode_is_refused_and_nothing_is_stored(scene: Scene) -> None:
    for broken in (conversation(name="\ud800"), conversation(meta={"a": "\udfff"}), conversation(backstory="\ud800")):
        with pytest.raises(BadRequest, match="surrogate"):
            await scene.storage.create_conversation(scene.me, broken, [message()])
    assert scene.adapter.rows("conversations") == scene.adapter.rows("conversation_terms") == 0


async def test_moment_beyond_64_bits_is_refused(scene: Scene) -> None:
    with pytest.raises(BadRequest, match="64 bits"):
        await scene.conversation(expires_at=1e300)


async def test_a_hundred_conversations_at_once_are_all_stored(scene: Scene) -> None:
    made = await asyncio.gather(*(scene.conversation("a", "b", meta={"n": number}) for number in range(100)))
    assert sorted(await walked(scene, 30, "desc", {})) == sorted(made)
    assert await listed(scene, ConversationQuery(meta={"n": 42})) == [made[42]]
