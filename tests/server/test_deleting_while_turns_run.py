"""A conversation that is deleted takes its turns with it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.server.asgi import Api, ScriptedModels
from tests.stalls import Stalls

from turnwise.server.app import Adapters, create_app
from turnwise.server.storage.open import storage_at

CHANNEL = "a-channel-of-24-or-more-0"
SOON = 1.0
"""Seconds: a fraction of those after which a ping, or a process that gives up, would end a turn."""
DATABASE = "api.db"


@pytest.fixture
async def neighbour(api: Api) -> AsyncGenerator[Api, None]:
    """Another server on the same database."""
    models, settings = ScriptedModels(), api.application.settings
    adapters = Adapters(storage=storage_at(settings.database), models=models, guest_secret=api.secret)
    application = create_app(settings, adapters)
    await application.open()
    yield Api(application, api.secret, models)
    await application.close()


async def asked(api: Api) -> None:
    """Wait until the model is asked."""
    async with asyncio.timeout(60):
        while True:
            if api.models.scripted["slow"].prompts:
                return
            await asyncio.sleep(0.005)


async def delete(api: Api, conversation: str) -> None:
    reply = await api.post(f"/conversation/{conversation}/delete", {})
    assert reply.status == 200, reply.text


async def assert_all_ended(path: Path, stalls: Stalls) -> None:
    """Check that every turn in the database ends soon."""
    async with stalls.within(SOON):
        while True:
            with closing(sqlite3.connect(path / DATABASE)) as connection:
                if connection.execute("SELECT count(*) FROM turns WHERE ended_at IS NULL").fetchone() == (0,):
                    return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("through", ["the same server", "another server"])
async def test_a_running_completion_ends_soon_and_its_reader_is_told(
    api: Api, neighbour: Api, tmp_path: Path, through: str, stalls: Stalls
) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/conversation/{conversation}/complete"
    streamed = asyncio.create_task(api.post(path, {"text": "hi"}, accept="application/jsonl"))
    await asked(api)
    await delete(api if through == "the same server" else neighbour, conversation)
    async with stalls.within(SOON):
        await api.models.scripted["slow"].closed.wait()
        reply = await streamed
    assert reply.types[-1] == "error"
    assert reply.data(-1)["code"] == "NOT_FOUND"
    assert "result" not in reply.types
    await assert_all_ended(tmp_path, stalls)


async def test_completions_that_wait_for_it_are_told_as_well(api: Api, tmp_path: Path, stalls: Stalls) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/conversation/{conversation}/complete"
    first = asyncio.create_task(api.post(path, {"text": "1"}))
    await asked(api)
    second = asyncio.create_task(api.post(path, {"text": "2"}))
    await asyncio.sleep(0.02)
    await delete(api, conversation)
    async with stalls.within(SOON):
        replies = await asyncio.gather(first, second)
    assert [(reply.status, reply.code) for reply in replies] == [(404, "NOT_FOUND")] * 2
    assert "deleted" in replies[0].message
    assert len(api.models.scripted["slow"].prompts) == 1
    await assert_all_ended(tmp_path, stalls)


async def test_a_running_dispatch_ends_and_its_channel_is_told(api: Api, tmp_path: Path, stalls: Stalls) -> None:
    conversation = await api.conversation(model="slow")
    await api.post(f"/conversation/{conversation}/dispatch", {"text": "hi", "channelId": CHANNEL})
    await asked(api)
    await delete(api, conversation)
    async with stalls.within(SOON):
        await api.models.scripted["slow"].closed.wait()
    events = await api.heard(CHANNEL)
    assert [event["type"] for event in events[-2:]] == ["abort", "error"]
    assert msgspec.convert(events[-1]["data"], dict[str, str])["code"] == "NOT_FOUND"
    await assert_all_ended(tmp_path, stalls)


@pytest.mark.parametrize("through", ["the same server", "another server"])
async def test_a_dispatch_that_waits_ends_and_its_channel_is_told(
    api: Api, neighbour: Api, tmp_path: Path, through: str, stalls: Stalls
) -> None:
    conversation = await api.conversation(model="slow")
    first = asyncio.create_task(api.post(f"/conversation/{conversation}/complete", {"text": "1"}))
    await asked(api)
    await api.post(f"/conversation/{conversation}/dispatch", {"text": "2", "channelId": CHANNEL})
    await delete(api if through == "the same server" else neighbour, conversation)
    async with stalls.within(SOON):
        assert (await first).status == 404
    assert (await api.heard(CHANNEL))[-1]["type"] == "error"
    assert len(api.models.scripted["slow"].prompts) == 1
    await assert_all_ended(tmp_path, stalls)


async def test_turns_of_other_conversations_go_on(api: Api) -> None:
    kept, gone = await api.conversation(model="slow"), await api.conversation(model="slow")
    path = f"/conversation/{kept}/complete"
    asking = asyncio.create_task(api.post(path, {"text": "hi"}))
    await asked(api)
    await delete(api, gone)
    api.models.scripted["slow"].go_on.set()
    assert (await asking).json["text"] == "Well, yes"


async def test_a_delete_that_is_refused_ends_nothing(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    token = await api.token(conversation)
    asking = asyncio.create_task(api.post(f"/conversation/{conversation}/complete", {"text": "hi"}))
    await asked(api)
    assert (await api.post(f"/conversation/{conversation}/delete", {}, secret=token)).status == 403
    api.models.scripted["slow"].go_on.set()
    assert (await asking).status == 200
