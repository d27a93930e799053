from __future__ import annotations

import asyncio

import pytest
from tests.server.asgi import Api


async def test_a_repeated_send_stores_one_message(api: Api) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/send"
    replies = await asyncio.gather(*(api.post(path, {"text": "hi"}, key="k") for _ in range(5)))
    assert {reply.body for reply in replies} == {replies[0].body}
    assert replies[0].status == 200
    assert await api.texts(conversation) == [("user", "hi")]
    assert (await api("POST", f"/v1{path}", {"text": "hi"}, key="k")).body == replies[0].body


async def test_the_same_key_with_another_body_is_a_conflict(api: Api) -> None:
    conversation = await api.conversation()
    await api.post(f"/conversation/{conversation}/send", {"text": "one"}, key="k")
    for operation in ("send", "complete"):
        await api.post(f"/conversation/{conversation}/{operation}", {"text": "one"}, key="k")
        reply = await api.post(f"/conversation/{conversation}/{operation}", {"text": "two"}, key="k")
        assert (reply.status, reply.code) == (409, "CONFLICT")


async def test_a_key_belongs_to_its_path(api: Api) -> None:
    first, second = await api.conversation(), await api.conversation()
    for conversation in (first, second):
        assert (await api.post(f"/conversation/{conversation}/send", {"text": "hi"}, key="k")).status == 200
        assert await api.texts(conversation) == [("user", "hi")]


@pytest.mark.parametrize(
    "operation, body",
    [
        ("update", {"name": "N"}),
        ("upvote", {}),
        ("downvote", {"value": -5}),
        ("session/create", {"durationInSeconds": 60}),
        ("message/create", {"type": "bot", "text": "a"}),
        ("complete", {"text": "hi"}),
        ("receive", {}),
        ("delete", {}),
    ],
)
async def test_every_post_is_answered_alike_when_repeated(api: Api, operation: str, body: dict[str, object]) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/{operation}"
    first = await api.post(path, body, key="k")
    await asyncio.sleep(0.002)
    again = await api.post(path, body, key="k")
    assert first.status == 200
    assert (again.status, again.json) == (200, first.json)
    assert (await api.post(path, {**body, "more": 1}, key="k")).status == 409


@pytest.mark.parametrize("operation", ["update", "delete", "upvote", "downvote"])
async def test_every_post_on_a_message_is_answered_alike_when_repeated(api: Api, operation: str) -> None:
    conversation = await api.conversation()
    created = await api.post(f"/conversation/{conversation}/message/create", {"type": "bot", "text": "a"})
    path = f"/conversation/{conversation}/message/{created.id}/{operation}"
    first = await api.post(path, {}, key="k")
    again = await api.post(path, {}, key="k")
    assert (first.status, again.status, again.json) == (200, 200, first.json)


async def test_a_repeated_create_makes_one_conversation(api: Api) -> None:
    body = {"name": "N", "messages": [{"type": "user", "text": "a"}]}
    first = await api.post("/conversation/create", body, key="k")
    again = await api.post("/conversation/create", body, key="k")
    assert again.json == first.json
    assert len((await api.get("/conversation/list")).items) == 1


async def test_a_finished_completion_is_told_again(api: Api) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/complete"
    first = await api.post(path, {"text": "hi"}, key="k")
    streamed = await api.post(path, {"text": "hi"}, key="k", accept="application/jsonl")
    assert streamed.data(-1) == first.json
    assert streamed.types[-1] == "result"
    tokens = [str(streamed.data(index)["token"]) for index, kind in enumerate(streamed.types) if kind == "token"]
    assert "".join(tokens) == "You said: hi"
    assert len(api.models.scripted["echo"].prompts) == 1


async def test_a_repeat_joins_a_running_completion(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/conversation/{conversation}/complete"
    first = asyncio.create_task(api.post(path, {"text": "hi"}, key="k"))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(api.post(path, {"text": "hi"}, key="k", accept="application/jsonl"))
    await asyncio.sleep(0.03)
    api.models.scripted["slow"].go_on.set()
    assert (await first).json == (await second).data(-1)
    assert len(api.models.scripted["slow"].prompts) == 1


async def test_one_of_two_readers_may_leave(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/api/v1/conversation/{conversation}/complete"
    leave = asyncio.Event()
    first = asyncio.create_task(api("POST", path, {"text": "hi"}, key="k", leave=leave))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(api("POST", path, {"text": "hi"}, key="k"))
    await asyncio.sleep(0.03)
    leave.set()
    await asyncio.sleep(0.03)
    api.models.scripted["slow"].go_on.set()
    await first
    assert (await second).json["text"] == "Well, yes"


async def test_after_a_break_a_repeat_makes_a_new_reply(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/api/v1/conversation/{conversation}/complete"
    leave = asyncio.Event()
    first = asyncio.create_task(api("POST", path, {"text": "hi"}, key="k", leave=leave))
    await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
    leave.set()
    await first
    api.models.scripted["slow"].go_on.set()
    again = await api("POST", path, {"text": "hi"}, key="k")
    assert again.json["text"] == "Well, yes"
    assert [kind for kind, _ in await api.texts(conversation)] == ["user", "bot", "bot"]


async def test_errors_are_not_remembered(api: Api) -> None:
    reply = await api.post("/conversation/create", {"model": "nobody"}, key="k")
    assert reply.status == 400
    assert (await api.post("/conversation/create", {"model": "echo"}, key="k")).status == 200


async def test_no_token_is_stored(api: Api) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/session/create"
    token = str((await api.post(path, {}, key="k")).json["token"])
    storage = api.application.adapters.storage
    account = await storage.accounts()
    known = await storage.find_once(account[0].id, f"/v1{path}", "k")
    assert known is not None
    assert known.answer is not None
    assert token.encode() not in known.answer
    assert token.rpartition(".")[2].encode() not in known.answer


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    reply = await api.post("/conversation/create", {}, key=key)
    assert reply.status == 400
    assert reply.message.startswith("Idempotency-Key")
