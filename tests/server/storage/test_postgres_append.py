"""Messages of many that one statement appends: what they may hold, and what becomes of those that it cannot take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import pytest
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import START, StillClock, conversation, message, once

from turnwise.server.errors import BadRequest, NotFound
from turnwise.server.storage import postgres_append
from turnwise.server.storage.base import Account, AlreadyDone, MessageQuery
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.postgres_append import Append, append_together
from turnwise.types.message import Message

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

ME = "account-me"


@pytest.fixture
async def storage(postgres: PostgresServer) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(postgres.emptied(), clock=StillClock())
    await storage.open()
    await storage.ensure_account(Account(ME, "me"), now=START)
    yield storage
    await storage.close()


async def begun(storage: PostgresStorage) -> str:
    given = conversation()
    await storage.create_conversation(ME, given, [])
    return given.id


async def stored(storage: PostgresStorage, id_: str) -> list[Message]:
    return list(await storage.list_messages(ME, id_, MessageQuery(take=1000)))


async def test_they_hold_any_character(storage: PostgresStorage) -> None:
    texts = [
        "",
        "\0",
        "\ufdd0",
        "\ufdd00",
        "\0\ufdd01\0",
        r"\u0000",
        r"\\u0000",
        "\x1f\x7f\x85\u2028\\\"'",
        "\U0010ffff",
        "é",
    ]
    ids = [await begun(storage) for _ in texts]
    given = [message(text, name=text, description=f"{text}!", meta={f"k{text}": [text, 1.5, None]}) for text in texts]
    await asyncio.gather(
        *(storage.add_messages(ME, id_, [each]) for id_, each in zip(ids, given, strict=True)),
        *(storage.add_messages(ME, id_, [message("plain")]) for id_ in ids),
    )
    for id_, each in zip(ids, given, strict=True):
        first, second = await stored(storage, id_)
        assert first == each
        assert second.text == "plain"


async def test_several_of_one_request_and_of_one_conversation_keep_their_order(storage: PostgresStorage) -> None:
    ids = [await begun(storage) for _ in range(3)]
    given = [
        (ids[number % 3], [message(f"{number}{part}", at=START + number) for part in "abc"[: 1 + number % 3]])
        for number in range(12)
    ]
    await asyncio.gather(*(storage.add_messages(ME, id_, messages) for id_, messages in given))
    for id_ in ids:
        assert await stored(storage, id_) == [each for to, messages in given if to == id_ for each in messages]


async def test_of_two_under_one_key_the_first_is_appended(storage: PostgresStorage) -> None:
    id_ = await begun(storage)
    answers = await asyncio.gather(
        storage.add_messages(ME, id_, [message("first")], once=once("k", answer=b"1")),
        storage.add_messages(ME, id_, [message("second")], once=once("k", answer=b"2")),
        storage.add_messages(ME, "nowhere", [message("lost")], once=once("l", answer=b"3")),
        storage.add_messages(ME, id_, [message("third")], once=once("l", answer=b"4")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), AlreadyDone, NotFound, type(None)]
    assert isinstance(answers[1], AlreadyDone)
    assert answers[1].answer == b"1"
    assert [each.text for each in await stored(storage, id_)] == ["first", "third"]


async def test_one_that_is_no_unicode_is_refused_and_the_others_appended(storage: PostgresStorage) -> None:
    id_ = await begun(storage)
    broken = [message("\ud800"), message("x", name="\udfff"), message("x", meta={"k": "\ud800"})]
    answers = await asyncio.gather(
        *(storage.add_messages(ME, id_, [each]) for each in (message("first"), *broken, message("second"))),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), BadRequest, BadRequest, BadRequest, type(None)]
    assert [each.text for each in await stored(storage, id_)] == ["first", "second"]


async def test_what_is_too_much_for_one_statement_is_not_sent_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_append, "LONGEST", 1000)
    nobody = cast("Connection", None)
    appends = [Append(ME, "conversation", [message("x" * 500)], START) for _ in range(2)]
    assert await append_together(nobody, appends, writer="w", number=1) == appends
    with pytest.raises(AttributeError, match="fetch"):
        await append_together(nobody, appends[:1], writer="w", number=2)


@pytest.mark.parametrize("longest", [0, 1000])
async def test_what_is_too_much_for_one_statement_is_appended_one_by_one(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(postgres_append, "LONGEST", longest)
    id_ = await begun(storage)
    texts = [str(number) * 500 for number in range(5)]
    await asyncio.gather(*(storage.add_messages(ME, id_, [message(text)]) for text in texts), storage.publish([]))
    assert [each.text for each in await stored(storage, id_)] == texts
