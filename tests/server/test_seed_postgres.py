"""The benchmarks measure PostgreSQL against the same conversations as SQLite."""

from __future__ import annotations

from pathlib import Path

from benchmarks.seed_database import RARE_PLAN, seed
from benchmarks.seed_postgres import seed_postgres
from tests.server.postgres import PostgresServer

from turnwise.server.ids import new_id
from turnwise.server.storage.base import ConversationQuery, MessageQuery
from turnwise.server.storage.open import storage_at
from turnwise.types.conversation import Conversation


async def test_seeded_database_is_the_same_as_the_seeded_file(postgres: PostgresServer, tmp_path: Path) -> None:
    seeded = seed(tmp_path / "t.db", conversations=400, messages=4000)
    url, told = postgres.database(), list[int]()
    await seed_postgres(url, conversations=400, each=10, made=told.append)
    file, server = storage_at(f"sqlite:///{tmp_path / 't.db'}"), storage_at(url)
    await file.open()
    await server.open()
    try:
        for query in (
            ConversationQuery(take=400),
            ConversationQuery(meta={"plan": RARE_PLAN}, bot_ids=("bot-4",)),
            ConversationQuery(meta={"n": 7}, order="asc"),
        ):
            found = await server.list_conversations(seeded.account, query)
            assert found == await file.list_conversations(seeded.account, query) != []
        for id_ in (seeded.first, seeded.middle, seeded.last):
            messages = await server.list_messages(seeded.account, id_, MessageQuery())
            assert messages == await file.list_messages(seeded.account, id_, MessageQuery()) != []
        await server.create_conversation(seeded.account, Conversation(id=new_id(), created_at=1, updated_at=1), [])
    finally:
        await file.close()
        await server.close()
    assert told == [400]
