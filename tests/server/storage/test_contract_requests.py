"""The contract of every adapter: accounts and secrets, idempotency keys, atomicity, upkeep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from tests.server.storage.scene import DAY, START, Scene, conversation, message, once
from tests.server.storage.test_contract_access import WRITES, stored

from turnwise.server.errors import Conflict, NotFound, Unavailable
from turnwise.server.storage.base import Account, AlreadyDone, MessageQuery, SecretInfo, UsedTokens, Vote

# Accounts


async def test_account_of_a_name_is_made_once(scene: Scene) -> None:
    first = await scene.storage.ensure_account(Account("1", "zoe"), now=START)
    again = await scene.storage.ensure_account(Account("2", "zoe"), now=START)
    assert first == again == Account("1", "zoe")
    names = [account.name for account in await scene.storage.accounts()]
    assert names == ["name of account-me", "name of account-other", "zoe"]


async def test_secret_opens_its_account_until_it_is_revoked(scene: Scene) -> None:
    assert not await scene.storage.account_open(scene.me)
    await scene.storage.add_secret(scene.me, secret_id="s1", digest=b"1", hint="tw_1", now=START)
    await scene.storage.add_secret(scene.me, secret_id="s2", digest=b"2", hint="tw_2", now=START + 1)
    me = Account(scene.me, "name of account-me")
    assert await scene.storage.find_account(b"1") == me
    assert await scene.storage.find_account(b"3") is None
    info = await scene.storage.revoke_secret("s1", now=START + 5)
    assert info == SecretInfo(id="s1", account=me, hint="tw_1", created_at=START, revoked_at=START + 5)
    assert await scene.storage.find_account(b"1") is None
    assert await scene.storage.account_open(scene.me)
    await scene.storage.revoke_secret("s2", now=START + 6)
    assert not await scene.storage.account_open(scene.me)
    assert [secret.id for secret in await scene.storage.secrets()] == ["s1", "s2"]


async def test_secret_that_was_revoked_keeps_its_time(scene: Scene) -> None:
    await scene.storage.add_secret(scene.me, secret_id="s", digest=b"1", hint="tw_1", now=START)
    await scene.storage.revoke_secret("s", now=START + 5)
    assert (await scene.storage.revoke_secret("s", now=START + 9)).revoked_at == START + 5


async def test_secret_added_again_is_valid_again(scene: Scene) -> None:
    await scene.storage.add_secret(scene.me, secret_id="s1", digest=b"1", hint="tw_1", now=START)
    await scene.storage.revoke_secret("s1", now=START)
    await scene.storage.add_secret(scene.me, secret_id="s2", digest=b"1", hint="tw_1", now=START + 1)
    assert await scene.storage.find_account(b"1") is not None
    assert [secret.id for secret in await scene.storage.secrets()] == ["s1"]


async def test_secret_of_another_account_is_a_conflict(scene: Scene) -> None:
    await scene.storage.add_secret(scene.me, secret_id="s1", digest=b"1", hint="tw_1", now=START)
    with pytest.raises(Conflict, match="another account"):
        await scene.storage.add_secret(scene.other, secret_id="s2", digest=b"1", hint="tw_1", now=START)
    found = await scene.storage.find_account(b"1")
    assert found is not None
    assert found.id == scene.me


async def test_secret_of_an_account_that_does_not_exist_is_refused(scene: Scene) -> None:
    with pytest.raises(NotFound, match="no account"):
        await scene.storage.add_secret("nobody", secret_id="s", digest=b"1", hint="tw_1", now=START)


async def test_unknown_secret_cannot_be_revoked(scene: Scene) -> None:
    with pytest.raises(NotFound, match="no secret"):
        await scene.storage.revoke_secret("unknown", now=START)


async def test_first_signing_key_is_kept(scene: Scene) -> None:
    keys = await asyncio.gather(*(scene.storage.signing_key(bytes([number])) for number in range(8)))
    assert set(keys) == {b"\0"}


# Idempotency keys


@pytest.mark.parametrize("answer", [b'{"id":"1"}', None], ids=["answered", "unanswered"])
@pytest.mark.parametrize("name", [*WRITES, "create_conversation"])
async def test_known_request_changes_nothing_and_tells_what_it_was(
    scene: Scene, name: str, answer: bytes | None
) -> None:
    conversation_id = await scene.conversation()
    message_id = await scene.message(conversation_id)
    await scene.storage.add_messages(scene.me, conversation_id, [], once=once(body=b"first", answer=answer))
    before = stored(scene), await scene.storage.fetch_conversation(scene.me, conversation_id)
    repeat = once(body=b"second", answer=b"new")
    if name == "create_conversation":
        repeated: Awaitable[object] = scene.storage.create_conversation(
            scene.me, conversation(), [message()], once=repeat
        )
    else:
        repeated = WRITES[name](scene.storage, scene.me, conversation_id, message_id, repeat)
    with pytest.raises(AlreadyDone) as caught:
        await repeated
    assert (caught.value.body, caught.value.answer, caught.value.message_id) == (b"first", answer, None)
    assert (stored(scene), await scene.storage.fetch_conversation(scene.me, conversation_id)) == before


async def test_repeat_of_a_delete_is_known_though_the_conversation_is_gone(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    await scene.storage.delete_conversation(scene.me, conversation_id, once=once(answer=b"gone"))
    with pytest.raises(AlreadyDone) as caught:
        await scene.storage.delete_conversation(scene.me, conversation_id, once=once(answer=b"gone"))
    assert caught.value.answer == b"gone"


async def test_remembered_answer_fills_an_unanswered_request_and_never_replaces_one(scene: Scene) -> None:
    await scene.storage.remember(scene.me, once())
    await scene.storage.remember(scene.me, once(answer=b"1"))
    with pytest.raises(AlreadyDone):
        await scene.storage.remember(scene.me, once(answer=b"2"))
    with pytest.raises(AlreadyDone):
        await scene.storage.remember(scene.me, once(body=b"other", answer=b"2"))
    found = await scene.storage.find_once(scene.me, "/path", "key")
    assert found is not None
    assert found.answer == b"1"


@pytest.mark.parametrize("path, key", [("/path", "other"), ("/other", "key"), ("/pat", "hkey")])
async def test_keys_are_told_apart_by_path_and_key(scene: Scene, path: str, key: str) -> None:
    await scene.storage.remember(scene.me, once())
    assert await scene.storage.find_once(scene.me, path, key) is None
    await scene.storage.remember(scene.me, once(path=path, key=key))


async def test_key_is_forgotten_after_a_day(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    await scene.storage.add_messages(scene.me, conversation_id, [], once=once(body=b"old", answer=b"old"))
    scene.clock.now = START + DAY - 1
    assert await scene.storage.find_once(scene.me, "/path", "key") is not None
    scene.clock.now = START + DAY
    assert await scene.storage.find_once(scene.me, "/path", "key") is None
    await scene.storage.add_messages(scene.me, conversation_id, [], once=once(body=b"new", now=START + DAY))
    found = await scene.storage.find_once(scene.me, "/path", "key")
    assert found is not None
    assert (found.body, found.answer) == (b"new", None)


async def test_of_concurrent_requests_with_one_key_one_is_done(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    outcomes = await asyncio.gather(
        *(scene.storage.add_messages(scene.me, conversation_id, [message()], once=once()) for _ in range(50)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [AlreadyDone] * 49
    assert scene.adapter.rows("messages") == 1


# Atomicity


async def test_failing_writes_leave_nothing_and_their_neighbours_stand(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    taken = await scene.message(conversation_id, "taken")

    async def send(number: int) -> None:
        bad = [message(f"bad {number}"), message("bad", id=taken)]
        batch = [message(f"good {number}")] if number % 3 else bad
        await scene.storage.add_messages(scene.me, conversation_id, batch, once=once(key=str(number)))

    outcomes = await asyncio.gather(*map(send, range(60)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Conflict if n % 3 == 0 else type(None) for n in range(60)]
    page = await scene.storage.list_messages(scene.me, conversation_id, MessageQuery())
    assert [item.text for item in page] == ["taken", *(f"good {n}" for n in range(60) if n % 3)]
    assert scene.adapter.rows("idempotency") == 40


async def test_cancelled_caller_does_not_disturb_others(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    tasks = [asyncio.create_task(scene.message(conversation_id, str(number))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks[1::2])
    page = await scene.storage.list_messages(scene.me, conversation_id, MessageQuery())
    assert {str(number) for number in range(1, 20, 2)} <= {item.text for item in page}


# Upkeep


async def emptied(scene: Scene, now: int, limit: int) -> list[int]:
    counts: list[int] = []
    while count := await scene.storage.purge(now=now, limit=limit):
        counts.append(count)
    return counts


@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_purge_removes_all_that_a_conversation_held(scene: Scene, how: str) -> None:
    kept = await scene.conversation("a", "b", meta={"m": 1}, bot_id="bot", backstory="s")
    used = [UsedTokens(model="m", input_tokens=1, output_tokens=1, at=START)]
    vote = Vote(value=1, reason=None, at=START, window=1)
    await scene.storage.add_messages(scene.me, kept, [], used=used)
    await scene.storage.vote_conversation(scene.me, kept, vote)
    tables = (*stored(scene), "conversation_texts", "conversation_terms")
    before = {table: scene.adapter.rows(table) for table in tables}
    gone = await scene.conversation(
        *map(str, range(30)), meta={"m": 1}, bot_id="bot", backstory="s", expires_at=START + 5
    )
    message_id = await scene.message(gone)
    await scene.storage.vote_message(scene.me, gone, message_id, vote)
    await scene.storage.add_messages(scene.me, gone, [], used=used)
    await scene.storage.delete_message(scene.me, gone, message_id)
    if how == "deleted":
        await scene.storage.delete_conversation(scene.me, gone)
    counts = await emptied(scene, START + 5, limit=7)
    assert all(count <= 7 for count in counts)
    after = {table: scene.adapter.rows(table) for table in tables}
    assert after == before | {"removed_conversations": 1}
    await emptied(scene, START + 5 + DAY, limit=7)
    assert {table: scene.adapter.rows(table) for table in tables} == before
    assert (await scene.storage.fetch_conversation(scene.me, kept)).id == kept


async def test_purge_leaves_what_has_not_expired(scene: Scene) -> None:
    conversation_id = await scene.conversation("a", expires_at=START + 1)
    await scene.storage.remember(scene.me, once())
    assert await scene.storage.purge(now=START) == 0
    assert (await scene.storage.fetch_conversation(scene.me, conversation_id)).id == conversation_id
    assert scene.adapter.rows("idempotency") == 1


async def test_purge_forgets_keys_after_a_day(scene: Scene) -> None:
    for number in range(10):
        await scene.storage.remember(scene.me, once(key=str(number), now=START + number))
    assert await emptied(scene, START + DAY + 4, limit=2) == [2, 2, 1]
    assert scene.adapter.rows("idempotency") == 5


async def test_many_deleted_conversations_that_held_nothing_do_not_stop_a_purge(scene: Scene) -> None:
    for _ in range(20):
        await scene.storage.delete_conversation(scene.me, await scene.conversation())
    await scene.storage.delete_conversation(scene.me, await scene.conversation("a", "b"))
    assert sum(await emptied(scene, START, limit=3)) == 2


# Opening and closing


async def test_storage_that_is_closed_says_so(scene: Scene) -> None:
    assert await scene.storage.ready()
    await scene.storage.close()
    assert not await scene.storage.ready()
    with pytest.raises(Unavailable, match="closed"):
        await scene.conversation()
    with pytest.raises(Unavailable, match="closed"):
        await scene.storage.accounts()


async def test_closing_finishes_accepted_writes(scene: Scene) -> None:
    conversation_id = await scene.conversation()
    writes = [asyncio.create_task(scene.message(conversation_id, str(number))) for number in range(50)]
    await asyncio.sleep(0)
    await scene.storage.close()
    await asyncio.gather(*writes)
    await scene.storage.open()
    page = await scene.storage.list_messages(scene.me, conversation_id, MessageQuery())
    assert [item.text for item in page] == [str(number) for number in range(50)]


async def test_what_was_stored_is_there_when_it_is_opened_again(scene: Scene) -> None:
    conversation_id = await scene.conversation("a")
    await scene.storage.close()
    again = scene.adapter.storage(scene.clock)
    await again.open()
    try:
        assert (await again.fetch_conversation(scene.me, conversation_id)).id == conversation_id
    finally:
        await again.close()
