"""The API over PostgreSQL: what it answers is what it answers over SQLite."""

from __future__ import annotations

import pytest
from tests.server.asgi import Api
from tests.server.postgres import PostgresServer


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    return postgres.emptied()


async def test_conversation_is_made_answered_and_listed(api: Api) -> None:
    id_ = await api.conversation(meta={"plan": "pro"})
    reply = await api.post(f"/conversation/{id_}/complete", {"text": "hello"}, accept="application/jsonl")
    assert reply.types[-1] == "result"
    assert await api.texts(id_) == [("user", "hello"), ("bot", "You said: hello")]
    assert [item["id"] for item in (await api.get("/conversation/list")).items] == [id_]


async def test_deleted_conversation_is_gone(api: Api) -> None:
    id_ = await api.conversation(messages=[{"type": "user", "text": "hi"}])
    assert (await api.post(f"/conversation/{id_}/delete", {})).status == 200
    assert (await api.get(f"/conversation/{id_}/fetch")).status == 404
