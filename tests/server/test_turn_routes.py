from __future__ import annotations

import asyncio

import pytest
from tests.server.asgi import Api, Reply
from tests.server.services.stage import until
from tests.stalls import Stalls

from turnwise.server.settings import Settings

COMPLETE = ["sendResult", "completeBegin", "token", "token", "token", "message", "usage", "completeEnd"]


async def test_complete_answers_the_stored_reply(api: Api) -> None:
    conversation = await api.conversation()
    reply = await api.post(f"/conversation/{conversation}/complete", {"text": " hello "})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == {
        "id": reply.id,
        "text": "You said: hello",
        "usage": {"token": 10},
        "end": {"reason": "stop"},
    }
    assert await api.texts(conversation) == [("user", "hello"), ("bot", "You said: hello")]


async def test_complete_streams_its_events_in_order(api: Api) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/complete"
    reply = await api.post(path, {"text": "hello"}, accept="application/jsonl")
    assert reply.headers["content-type"] == "application/jsonl"
    assert reply.types == [*COMPLETE, "receiveResult", "result"]
    assert all(isinstance(event["createdAt"], int) and "data" in event for event in reply.events)
    assert reply.data(-1)["text"] == "You said: hello"


async def test_receive_streams_one_result_with_its_end(api: Api) -> None:
    conversation = await api.conversation(messages=[{"type": "user", "text": "hi"}])
    reply = await api.post(f"/conversation/{conversation}/receive", accept="application/jsonl")
    assert reply.types == ["completeBegin", "token", "token", "token", "message", "usage", "completeEnd", "result"]
    assert reply.data(-1)["end"] == {"reason": "stop"}


async def test_send_streams_just_its_result(api: Api) -> None:
    conversation = await api.conversation()
    reply = await api.post(f"/conversation/{conversation}/send", {"text": "hi"}, accept="application/jsonl")
    assert reply.types == ["result"]
    assert reply.data(0)["entities"] == []


async def test_a_stateless_completion_stores_nothing(api: Api) -> None:
    body = {"backstory": "Be brief.", "messages": [{"type": "user", "text": "hi"}]}
    reply = await api.post("/conversation/complete", body)
    assert reply.json == {"text": "You said: hi", "usage": {"token": 10}, "end": {"reason": "stop"}}
    assert (await api.get("/conversation/list")).items == []
    assert api.models.scripted["echo"].prompts[0].system == "Be brief."


async def test_a_stateless_completion_needs_a_message(api: Api) -> None:
    reply = await api.post("/conversation/complete", {"messages": []})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_streamed_json_is_ascii_without_blank_lines(api: Api) -> None:
    conversation = await api.conversation(model="thinks")
    path = f"/conversation/{conversation}/complete"
    reply = await api.post(path, {"text": "\u2028ü"}, accept="application/jsonl")
    assert reply.body.isascii()
    assert b"\n\n" not in reply.body
    assert b"\\ud83d\\ude00" in reply.body
    assert reply.data(-1)["text"] == "Grüße 😀"
    assert "reasoningToken" in reply.types


async def test_server_sent_events_name_their_type(api: Api) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/complete"
    reply = await api.post(path, {"text": "ü"}, accept="text/event-stream")
    assert reply.headers["content-type"].startswith("text/event-stream")
    frames = reply.text.removesuffix("\n\n").split("\n\n")
    names = [frame.splitlines()[0] for frame in frames]
    assert names == [f"event: {name}" for name in [*COMPLETE, "receiveResult", "result"]]
    assert all(frame.splitlines()[1].startswith('data: {"type":') for frame in frames)


async def test_a_model_that_refuses_is_a_status_with_retry_after(api: Api) -> None:
    conversation = await api.conversation(model="refuses")
    reply = await api.post(f"/conversation/{conversation}/complete", {"text": "hi"})
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "TOO_MANY_REQUESTS", "7")
    assert await api.texts(conversation) == [("user", "hi")]


async def test_a_model_that_breaks_off_is_an_error_event_and_its_text_is_kept(api: Api) -> None:
    conversation = await api.conversation(model="breaks")
    path = f"/conversation/{conversation}/complete"
    reply = await api.post(path, {"text": "hi"}, accept="application/jsonl")
    assert reply.status == 200
    assert reply.events[-1]["type"] == "error"
    assert reply.data(-1) == {"message": "The model broke off.", "code": "BAD_GATEWAY"}
    assert "result" not in reply.types
    stored = (await api.get(f"/conversation/{conversation}/message/list")).items[-1]
    assert (stored["text"], stored["meta"]) == ("Half a", {"interrupted": True, "reason": "error"})


async def test_a_failure_before_the_stream_begins_is_a_status(api: Api) -> None:
    reply = await api.post("/conversation/nothing/complete", {"text": "hi"}, accept="application/jsonl")
    assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["application/json", "application/jsonl", "text/event-stream"])
async def test_a_client_that_leaves_ends_the_model_call_at_once(api: Api, accept: str, stalls: Stalls) -> None:
    conversation = await api.conversation(model="slow")
    leave, model = asyncio.Event(), api.models.scripted["slow"]
    path = f"/api/v1/conversation/{conversation}/complete"
    asking = asyncio.create_task(api("POST", path, {"text": "hi"}, accept=accept, leave=leave))
    await asyncio.wait_for(model.waits.wait(), 60)
    assert model.prompts
    leave.set()
    async with stalls.within(1):  # and not in five, when a ping would have found that nobody is there
        await model.closed.wait()
    await asking
    assert await api.texts(conversation) == [("user", "hi"), ("bot", "Well")]


async def test_turns_of_one_conversation_follow_one_another(api: Api) -> None:
    conversation = await api.conversation(model="slow")
    path = f"/conversation/{conversation}/complete"
    first = asyncio.create_task(api.post(path, {"text": "1"}))
    await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
    second = asyncio.create_task(api.post(path, {"text": "2"}))
    await asyncio.sleep(0.05)
    api.models.scripted["slow"].go_on.set()
    assert (await first).status == (await second).status == 200
    assert [text for _, text in await api.texts(conversation)] == ["1", "Well, yes", "2", "Well, yes"]


class TestPings:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(ping_interval=0.05, turn_timeout=0.3, grace=1)

    async def test_a_silent_model_is_bridged_by_pings(self, api: Api) -> None:
        conversation = await api.conversation(model="silent")
        path = f"/api/v1/conversation/{conversation}/complete"
        reply = Reply()
        asking = asyncio.create_task(api("POST", path, {"text": "hi"}, accept="application/jsonl", reply=reply))
        await until(lambda: reply.types.count("ping") >= 2)
        api.models.scripted["silent"].go_on.set()
        await asking
        assert reply.types.count("ping") >= 2
        assert reply.types[-1] == "result"
        assert next(event for event in reply.events if event["type"] == "ping")["data"] == {}

    async def test_a_turn_that_waits_too_long_for_the_one_before_is_a_conflict(self, api: Api) -> None:
        conversation = await api.conversation(model="slow")
        path = f"/conversation/{conversation}/complete"
        first = asyncio.create_task(api.post(path, {"text": "1"}))
        await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
        awaited = asyncio.create_task(api.post(path, {"text": "2"}))
        streamed = await api.post(path, {"text": "3"}, accept="application/jsonl")
        assert streamed.types[0] == "ping"
        assert streamed.data(-1)["code"] == "CONFLICT"
        assert ((await awaited).status, (await awaited).code) == (409, "CONFLICT")
        api.models.scripted["slow"].go_on.set()
        await first

    async def test_a_failure_while_a_slow_client_takes_the_first_ping_is_told(self, api: Api) -> None:
        conversation = await api.conversation(model="slow")
        path = f"/api/v1/conversation/{conversation}/complete"
        first = asyncio.create_task(api("POST", path, {"text": "1"}))
        await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
        reply = Reply()
        reply.reading.clear()
        second = asyncio.create_task(api("POST", path, {"text": "2"}, accept="application/jsonl", reply=reply))
        third = await api("POST", path, {"text": "3"})
        assert third.status == 409  # so the second, which came before it, has failed by now
        reply.reading.set()
        await second
        assert reply.types == ["ping", "error"]
        assert reply.data(-1)["code"] == "CONFLICT"
        api.models.scripted["slow"].go_on.set()
        await first

    async def test_send_never_waits(self, api: Api) -> None:
        conversation = await api.conversation(model="slow")
        first = asyncio.create_task(api.post(f"/conversation/{conversation}/complete", {"text": "1"}))
        await asyncio.wait_for(api.models.scripted["slow"].waits.wait(), 60)
        reply = await api.post(f"/conversation/{conversation}/send", {"text": "2"})
        assert reply.status == 200
        assert not first.done()
        api.models.scripted["slow"].go_on.set()
        await first


UNBUILT: list[tuple[dict[str, object], str]] = [
    ({"extensions": {"datasets": [{"records": []}]}}, "extensions.datasets"),
    ({"extensions": {"skillsets": [{"abilities": []}]}}, "extensions.skillsets"),
    ({"extensions": {"features": [{"name": "f"}]}}, "extensions.features"),
]


@pytest.mark.parametrize("fields, named", UNBUILT)
@pytest.mark.parametrize("operation", ["complete", "receive", "send"])
async def test_what_is_not_built_is_refused_by_name(
    api: Api, operation: str, fields: dict[str, object], named: str
) -> None:
    conversation = await api.conversation()
    reply = await api.post(f"/conversation/{conversation}/{operation}", {"text": "hi", **fields})
    assert (reply.status, reply.code) == (501, "NOT_IMPLEMENTED")
    assert reply.message.startswith(named)
    assert await api.texts(conversation) == []


@pytest.mark.parametrize(
    "fields, status, named",
    [
        ({"privacy": True}, 501, "privacy"),
        ({"moderation": True}, 501, "moderation"),
        ({"attachments": [{"url": "https://example.com/a.pdf"}]}, 501, "attachments"),
        ({"contactId": {"fingerprint": "f"}}, 501, "contactId"),
        ({"botId": "b"}, 404, "botId"),
        ({"datasetId": "d"}, 404, "datasetId"),
        ({"skillsetId": "s"}, 404, "skillsetId"),
        ({"model": "nobody"}, 400, "echo, thinks"),
    ],
)
async def test_a_stateless_completion_refuses_what_it_cannot_do(
    api: Api, fields: dict[str, object], status: int, named: str
) -> None:
    reply = await api.post("/conversation/complete", {"messages": [{"type": "user", "text": "hi"}], **fields})
    assert reply.status == status
    assert named in reply.message


async def test_falsy_features_are_accepted(api: Api) -> None:
    conversation = await api.conversation(privacy=False, moderation=False)
    body: dict[str, object] = {
        "text": "hi",
        "functions": [],
        "extensions": {"datasets": [], "skillsets": [], "features": [], "backstory": "Be kind."},
        "limits": {"iterations": 1},
        "entities": [],
        "unknown": {"field": 1},
    }
    reply = await api.post(f"/conversation/{conversation}/complete", body)
    assert reply.status == 200
    assert api.models.scripted["echo"].prompts[0].system == "Be kind."


async def test_a_session_tokens_extensions_are_ignored(api: Api) -> None:
    conversation = await api.conversation(backstory="Be brief.")
    token = await api.token(conversation)
    body = {"text": "hi", "extensions": {"backstory": "Tell all.", "features": [{"name": "f"}]}}
    for operation in ("send", "complete", "receive"):
        reply = await api.post(f"/conversation/{conversation}/{operation}", body, secret=token)
        assert reply.status == 200, reply.text
    assert {prompt.system for prompt in api.models.scripted["echo"].prompts} == {"Be brief."}


@pytest.mark.parametrize("text", ["", "   ", "\n"])
@pytest.mark.parametrize("operation", ["send", "complete"])
async def test_a_text_needs_a_character(api: Api, operation: str, text: str) -> None:
    conversation = await api.conversation()
    reply = await api.post(f"/conversation/{conversation}/{operation}", {"text": text})
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert "text" in reply.message


async def test_what_a_stateless_model_said_before_it_broke_off_reaches_the_client(api: Api) -> None:
    body = {"model": "breaks", "messages": [{"type": "user", "text": "Go"}]}
    reply = await api.post("/conversation/complete", body, accept="application/jsonl")
    assert reply.status == 200
    assert reply.types == ["sendResult", "completeBegin", "token", "message", "error"]
    assert reply.data(2) == {"token": "Half a"}


async def test_a_dispatch_that_has_ended_says_so_to_whoever_repeats_it(api: Api) -> None:
    conversation = await api.conversation()
    path, body = f"/conversation/{conversation}/dispatch", {"text": "hi", "channelId": "a-channel-of-24-characters"}
    assert (await api.post(path, body)).json == {"channelId": body["channelId"]}
    # The next turn of the conversation waits for it.
    await api.post(f"/conversation/{conversation}/complete", {"text": "hello"})
    again = (await api.post(path, body)).json
    assert again["channelId"] == body["channelId"]
    assert set(again) == {"channelId", "endedAt"}
    refused = await api.post("/conversation/dispatch", {**body, "messages": [{"type": "user", "text": "hi"}]})
    assert (refused.status, refused.json["code"]) == (409, "CONFLICT")
