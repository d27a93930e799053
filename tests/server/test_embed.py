from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest
from tests.server.asgi import FINISH, ScriptedModel, ScriptedModels

from turnwise.server.embed import ServerThread, embedded
from turnwise.server.models.base import Delta, Prompt, TextDelta
from turnwise.server.settings import Settings


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'embedded.db'}"


async def test_a_conversation_over_a_real_socket(tmp_path: Path) -> None:
    with embedded(database_url=url_in(tmp_path), model="offline") as server:
        assert server.model == "offline"
        assert server.secret not in repr(server)
        headers = {"authorization": f"Bearer {server.secret}"}
        async with aiohttp.ClientSession(f"{server.url}/api/v1/", headers=headers) as http:
            async with http.post("conversation/create", json={"backstory": "We open at nine."}) as answer:
                conversation = (await answer.json())["id"]
            accept = {"accept": "application/jsonl"}
            path = f"conversation/{conversation}/complete"
            async with http.post(path, json={"text": "When do you open?"}, headers=accept) as answer:
                events = [json.loads(line) async for line in answer.content]
        assert events[-1]["type"] == "result"
        assert "nine" in events[-1]["data"]["text"]


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl"])
async def test_a_closed_connection_ends_the_model_call_within_100_ms(tmp_path: Path, accept: str) -> None:
    models = ScriptedModels()
    slow = models.scripted["slow"]
    said, closed = threading.Event(), threading.Event()
    slow.waits.set, slow.closed.set = said.set, closed.set  # type: ignore[method-assign]
    settings = Settings(database_url=url_in(tmp_path))
    took: list[float] = []
    with embedded(settings=settings, models=models) as server:
        headers = {"authorization": f"Bearer {server.secret}"}
        for _ in range(5):  # one of which may meet a machine that stands still
            said.clear()
            closed.clear()
            async with aiohttp.ClientSession(f"{server.url}/v1/", headers=headers) as http:
                async with http.post("conversation/create", json={"model": "slow"}) as answer:
                    conversation = (await answer.json())["id"]
                path = f"conversation/{conversation}/complete"
                asking = asyncio.create_task(_read(http, path, accept))
                assert await asyncio.to_thread(said.wait, 60)
                assert slow.prompts
                slow.prompts.clear()
                asking.cancel()
                began = time.monotonic()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                assert await asyncio.to_thread(closed.wait, 60)
                took.append(time.monotonic() - began)
                items: list[dict[str, Any]] = []
                while len(items) < 2:
                    async with http.get(f"conversation/{conversation}/message/list") as listed:
                        items = (await listed.json())["items"]
                assert [(item["type"], item["text"]) for item in items] == [("user", "hi"), ("bot", "Well")]
                assert items[-1]["meta"]["interrupted"] is True
    assert median(took) < 0.1


async def _read(http: aiohttp.ClientSession, path: str, accept: str) -> bytes:
    async with http.post(path, json={"text": "hi"}, headers={"accept": accept}) as answer:
        return await answer.read()


def test_what_was_stored_is_there_at_the_next_start_under_a_new_secret(tmp_path: Path) -> None:
    async def ask(url: str, secret: str, method: str, path: str) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {secret}"}
        async with aiohttp.ClientSession(headers=headers) as http, http.request(method, f"{url}/v1/{path}") as answer:
            return answer.status, str((await answer.json()).get("id"))

    with embedded(database_url=url_in(tmp_path), model="offline") as first:
        status, conversation = asyncio.run(ask(first.url, first.secret, "POST", "conversation/create"))
        assert status == 200
    with embedded(database_url=url_in(tmp_path), model="offline") as second:
        path = f"conversation/{conversation}/fetch"
        assert asyncio.run(ask(second.url, second.secret, "GET", path)) == (200, conversation)
        assert asyncio.run(ask(second.url, first.secret, "GET", path))[0] == 401


def test_what_hinders_the_start_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not supported"), embedded(database_url="mysql://x/y", model="offline"):
        pass
    with (
        pytest.raises(Exception, match="cannot be opened"),
        embedded(database_url=f"sqlite:///{tmp_path}", model="offline"),
    ):
        pass


class Unhurried(ScriptedModel):
    """Takes some seconds over its second word."""

    def __init__(self, seconds: float) -> None:
        super().__init__("slow")
        self.seconds = seconds

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        yield [TextDelta("Well")]
        await asyncio.sleep(self.seconds)
        yield [TextDelta(", yes"), FINISH]


@pytest.mark.parametrize("grace, takes, last", [(60.0, 0.5, "result"), (0.1, 60.0, "error")])
def test_a_running_reply_has_the_grace_to_end(tmp_path: Path, grace: float, takes: float, last: str) -> None:
    models = ScriptedModels()
    models.scripted["slow"] = Unhurried(takes)
    settings = Settings(database_url=url_in(tmp_path), grace=grace)
    begun = threading.Event()
    answers: list[bytes] = []

    async def ask(url: str, secret: str) -> None:
        async with aiohttp.ClientSession(f"{url}/v1/", headers={"authorization": f"Bearer {secret}"}) as http:
            async with http.post("conversation/create", json={"model": "slow"}) as answer:
                conversation = (await answer.json())["id"]
            headers = {"accept": "application/jsonl"}
            path = f"conversation/{conversation}/complete"
            async with http.post(path, json={"text": "hi"}, headers=headers) as answer:
                begun.set()
                answers.append(await answer.read())

    with embedded(settings=settings, models=models) as server:
        thread = threading.Thread(target=lambda: asyncio.run(ask(server.url, server.secret)))
        thread.start()
        assert begun.wait(60)
    thread.join(60)
    assert b'"token":"Well"' in answers[0]
    event = json.loads(answers[0].splitlines()[-1])
    assert event["type"] == last
    assert event["data"].get("text", event["data"].get("code")) in {"Well, yes", "SERVICE_UNAVAILABLE"}
    with pytest.raises(OSError, match="refused"), urllib.request.urlopen(f"{server.url}/healthz"):  # noqa: S310
        pass


def test_a_server_told_to_stop_before_it_is_ready_stops(tmp_path: Path) -> None:
    thread = ServerThread(Settings(database_url=url_in(tmp_path), model="offline"), None, None)
    thread.start()
    thread.stop()
    assert not thread.is_alive()
