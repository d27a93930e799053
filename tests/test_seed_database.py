"""What the benchmarks measure against is a database as the server would have written it."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.seed_database import RARE_PLAN, conversation_id, message_id, seed

from turnwise.server.storage.base import ConversationQuery, MessageQuery
from turnwise.server.storage.sqlite import SqliteStorage


@pytest.mark.parametrize("longest", [0, 50])
async def test_seeded_database_answers_as_one_that_was_written(tmp_path: Path, longest: int) -> None:
    seeded = seed(tmp_path / "t.db", conversations=400, messages=4000, longest=longest)
    storage = SqliteStorage(tmp_path / "t.db")
    await storage.open()
    try:
        page = await storage.list_conversations(seeded.account, ConversationQuery())
        assert [item.id for item in page] == [conversation_id(number) for number in range(399, 299, -1)]
        assert (page[0].id, page[0].meta) == (seeded.last, {"plan": "common", "n": 399})
        query = ConversationQuery(meta={"plan": RARE_PLAN, "n": 4}, bot_ids=("bot-4",))
        assert [item.id for item in await storage.list_conversations(seeded.account, query)] == [conversation_id(4)]
        last = await storage.list_messages(seeded.account, seeded.first, MessageQuery(order="desc", take=1))
        assert last[0].id == message_id(0, longest or 10)
        messages = await storage.list_messages(seeded.account, seeded.middle, MessageQuery())
        assert [item.id for item in messages] == [message_id(200, sequence) for sequence in range(1, 11)]
        found = await storage.fetch_message(seeded.account, seeded.middle, seeded.message_of_middle)
        assert found == messages[4]
    finally:
        await storage.close()
