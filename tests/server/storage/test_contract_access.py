"""The contract of every adapter: whose conversation it is, for every method that names one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.server.storage.scene import HOUR, START, Scene, message, new_id, new_turn, once

from turnwise.server.errors import BadRequest, Forbidden, NotFound
from turnwise.server.storage.base import (
    ConversationQuery,
    Filter,
    MessageQuery,
    Once,
    UsedTokens,
    Vote,
)
from turnwise.server.storage.journal import JournaledStorage
from turnwise.types.message import Message

VOTE = Vote(value=100, reason=None, at=START, window=1000)
USED = UsedTokens(model="m", input_tokens=1, output_tokens=2, at=START)

Call = Callable[[JournaledStorage, str, str, str, Once | None], Awaitable[object]]


async def start(
    storage: JournaledStorage, account: str, conversation_id: str, said: Message | None, key: Once | None
) -> None:
    await storage.register_process("p", lease_ms=HOUR)
    turn = new_turn(account_id=account, conversation_id=conversation_id)
    await storage.start_turn(turn, said, recent=10, once=key)


async def queue(storage: JournaledStorage, account: str, conversation_id: str, key: Once | None) -> None:
    await storage.register_process("p", lease_ms=HOUR)
    turn = new_turn(account_id=account, conversation_id=conversation_id, channel_id=new_id(), kind="dispatch")
    await storage.queue_turn(turn, once=key)


READS: dict[str, Call] = {
    "fetch_conversation": lambda s, a, c, m, o: s.fetch_conversation(a, c),
    "conversation_usage": lambda s, a, c, m, o: s.conversation_usage(a, c, begin=0, end=START),
    "fetch_message": lambda s, a, c, m, o: s.fetch_message(a, c, m),
    "list_messages": lambda s, a, c, m, o: s.list_messages(a, c, MessageQuery()),
}

WRITES: dict[str, Call] = {
    "update_conversation": lambda s, a, c, m, o: s.update_conversation(a, c, {"name": "x"}, now=START, once=o),
    "delete_conversation": lambda s, a, c, m, o: s.delete_conversation(a, c, once=o),
    "vote_conversation": lambda s, a, c, m, o: s.vote_conversation(a, c, VOTE, once=o),
    "add_messages": lambda s, a, c, m, o: s.add_messages(a, c, [message()], used=[USED], once=o),
    "add_messages_none": lambda s, a, c, m, o: s.add_messages(a, c, [], used=[USED], once=o),
    "update_message": lambda s, a, c, m, o: s.update_message(a, c, m, {"text": "x"}, now=START, once=o),
    "delete_message": lambda s, a, c, m, o: s.delete_message(a, c, m, once=o),
    "vote_message": lambda s, a, c, m, o: s.vote_message(a, c, m, VOTE, once=o),
    "start_turn": lambda s, a, c, m, o: start(s, a, c, message(), o),
    "start_turn_silently": lambda s, a, c, m, o: start(s, a, c, None, o),
    "queue_turn": lambda s, a, c, m, o: queue(s, a, c, o),
}

CALLS = READS | WRITES
OF_A_MESSAGE = {name: call for name, call in CALLS.items() if name.endswith("_message")}

TABLES = (
    "conversations",
    "messages",
    "votes",
    "used_tokens",
    "idempotency",
    "removed_conversations",
    "removed_messages",
    "turns",
)


def stored(scene: Scene) -> dict[str, int]:
    return {table: scene.adapter.rows(table) for table in TABLES}


@pytest.mark.parametrize("name", CALLS)
async def test_own_conversation_is_reached(scene: Scene, name: str) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    await CALLS[name](scene.storage, scene.me, conversation_id, message_id, None)


@pytest.mark.parametrize("name", CALLS)
async def test_another_accounts_conversation_is_forbidden_and_unchanged(scene: Scene, name: str) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    before = stored(scene), await scene.storage.fetch_conversation(scene.me, conversation_id)
    with pytest.raises(Forbidden, match="another account"):
        await CALLS[name](scene.storage, scene.other, conversation_id, message_id, once())
    assert (stored(scene), await scene.storage.fetch_conversation(scene.me, conversation_id)) == before


@pytest.mark.parametrize("name", CALLS)
async def test_unknown_conversation_is_not_found_and_nothing_is_stored(scene: Scene, name: str) -> None:
    before = stored(scene)
    with pytest.raises(NotFound, match="no conversation"):
        await CALLS[name](scene.storage, scene.me, "unknown", "unknown", once())
    assert stored(scene) == before


@pytest.mark.parametrize("whose", ["me", "other"])
@pytest.mark.parametrize("name", CALLS)
async def test_expired_conversation_is_not_found_for_everybody(scene: Scene, name: str, whose: str) -> None:
    conversation_id = await scene.conversation(expires_at=START + 5)
    message_id = await scene.message(conversation_id)
    before = stored(scene)
    scene.clock.now = START + 5
    with pytest.raises(NotFound, match="no conversation"):
        await CALLS[name](scene.storage, getattr(scene, whose), conversation_id, message_id, once())
    assert stored(scene) == before


@pytest.mark.parametrize("whose", ["me", "other"])
@pytest.mark.parametrize("name", CALLS)
async def test_deleted_conversation_is_not_found_for_everybody(scene: Scene, name: str, whose: str) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    await scene.storage.delete_conversation(scene.me, conversation_id)
    before = stored(scene)
    with pytest.raises(NotFound, match="no conversation"):
        await CALLS[name](scene.storage, getattr(scene, whose), conversation_id, message_id, once())
    assert stored(scene) == before


@pytest.mark.parametrize("name", OF_A_MESSAGE)
async def test_message_of_another_conversation_is_not_found(scene: Scene, name: str) -> None:
    message_id = await scene.message(await scene.conversation())
    conversation_id = await scene.conversation()
    before = stored(scene)
    with pytest.raises(NotFound, match="no message"):
        await OF_A_MESSAGE[name](scene.storage, scene.me, conversation_id, message_id, once())
    assert stored(scene) == before


@pytest.mark.parametrize("name", OF_A_MESSAGE)
async def test_deleted_message_is_not_found(scene: Scene, name: str) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    await scene.storage.delete_message(scene.me, conversation_id, message_id)
    with pytest.raises(NotFound, match="no message"):
        await OF_A_MESSAGE[name](scene.storage, scene.me, conversation_id, message_id, None)


NO_FILTER: Filter = {}


@pytest.mark.parametrize("meta", [NO_FILTER, {"plan": "pro"}], ids=["unfiltered", "filtered"])
async def test_lists_hold_neither_other_accounts_nor_expired_nor_deleted_conversations(
    scene: Scene, meta: Filter
) -> None:
    mine = await scene.conversation(meta={"plan": "pro"})
    await scene.conversation(meta={"plan": "pro"}, account=scene.other)
    await scene.conversation(meta={"plan": "pro"}, expires_at=START)
    deleted = await scene.conversation(meta={"plan": "pro"})
    await scene.storage.delete_conversation(scene.me, deleted)
    page = await scene.storage.list_conversations(scene.me, ConversationQuery(meta=meta))
    assert [item.id for item in page] == [mine]


async def test_another_accounts_conversation_is_no_cursor(scene: Scene) -> None:
    foreign = await scene.conversation(account=scene.other)
    with pytest.raises(BadRequest, match="cursor"):
        await scene.storage.list_conversations(scene.me, ConversationQuery(cursor=foreign))
    await scene.storage.delete_conversation(scene.other, foreign)
    with pytest.raises(BadRequest, match="cursor"):
        await scene.storage.list_conversations(scene.me, ConversationQuery(cursor=foreign))


@pytest.mark.parametrize("name", WRITES)
async def test_idempotency_keys_of_two_accounts_never_meet(scene: Scene, name: str) -> None:
    await scene.storage.remember(scene.other, once())
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    await WRITES[name](scene.storage, scene.me, conversation_id, message_id, once())
    assert await scene.storage.find_once(scene.me, "/path", "key") is not None
