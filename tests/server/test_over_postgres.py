"""The API over PostgreSQL: what it answers is what it answers over SQLite."""

from __future__ import annotations

import pytest
from tests.server.asgi import Api, ScriptedModels
from tests.server.postgres import PostgresServer
from tests.server.storage.wire import Wire
from tests.stalls import Stalls

from turnwise.server.app import Adapters, create_app
from turnwise.server.settings import Settings
from turnwise.server.storage.open import storage_at


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


@pytest.mark.parametrize("silent, within", [(False, 8), (True, 14)], ids=["gone", "silent"])
async def test_a_server_stops_within_seconds_while_the_database_is_away(
    postgres: PostgresServer, stalls: Stalls, *, silent: bool, within: float
) -> None:
    async with Wire(postgres) as wire:
        storage = storage_at(wire.url(postgres.emptied()))
        application = create_app(Settings(), Adapters(storage=storage, models=ScriptedModels()))
        await application.open()
        if silent:
            wire.mute = True
        else:
            wire.refusing = True
            wire.cut()
        async with stalls.within(within):
            await application.close(grace=0)
