from __future__ import annotations

import pytest
from tests.server.asgi import Api

REQUEST = {"type": "request", "function": {"name": "open", "arguments": '{"day": 1}'}}


@pytest.fixture
async def path(api: Api) -> str:
    return f"/conversation/{await api.conversation()}/message"


async def test_what_was_created_can_be_fetched_unaltered(api: Api, path: str) -> None:
    fields = {"type": "bot", "text": " \tHello\u0000 ", "name": "N", "description": "D", "meta": {"a": {"b": None}}}
    created = await api.post(f"{path}/create", {**fields, "entities": []})
    assert created.json == {"id": created.id, "entities": []}
    fetched = (await api.get(f"{path}/{created.id}/fetch")).json
    assert {key: fetched[key] for key in fields} == fields
    assert fetched["createdAt"] == fetched["updatedAt"]


async def test_messages_are_listed_oldest_first(api: Api, path: str) -> None:
    made = [(await api.post(f"{path}/create", {"type": "user", "text": str(index)})).id for index in range(4)]
    assert [item["id"] for item in (await api.get(f"{path}/list")).items] == made
    assert [item["id"] for item in (await api.get(f"{path}/list?order=desc&take=2")).items] == [made[3], made[2]]
    rest = await api.get(f"{path}/list?cursor={made[1]}")
    assert [item["id"] for item in rest.items] == made[2:]
    streamed = await api.get(f"{path}/list?take=3", accept="application/jsonl")
    assert [streamed.data(index)["id"] for index in range(3)] == made[:3]


async def test_update_changes_what_is_given_and_merges_meta(api: Api, path: str) -> None:
    created = await api.post(f"{path}/create", {"type": "bot", "text": "a", "name": "N", "meta": {"x": 1, "y": 2}})
    reply = await api.post(f"{path}/{created.id}/update", {"text": "b", "meta": {"x": None}, "name": None})
    assert reply.json == {"id": created.id}
    fetched = (await api.get(f"{path}/{created.id}/fetch")).json
    assert (fetched["type"], fetched["text"], fetched["meta"]) == ("bot", "b", {"y": 2})
    assert "name" not in fetched


async def test_a_deleted_message_is_unknown(api: Api, path: str) -> None:
    created = await api.post(f"{path}/create", {"type": "bot", "text": "a"})
    assert (await api.post(f"{path}/{created.id}/delete")).json == {"id": created.id}
    for reply in (
        await api.get(f"{path}/{created.id}/fetch"),
        await api.post(f"{path}/{created.id}/update", {"type": "activity", "meta": {"activity": REQUEST}}),
        await api.post(f"{path}/{created.id}/upvote"),
    ):
        assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_a_message_of_another_conversation_is_unknown(api: Api, path: str) -> None:
    created = await api.post(f"{path}/create", {"type": "bot", "text": "a"})
    other = await api.conversation()
    assert (await api.get(f"/conversation/{other}/message/{created.id}/fetch")).status == 404


@pytest.mark.parametrize(
    "activity",
    [
        REQUEST,
        {"type": "response", "function": {"name": "open", "arguments": {"day": 1}, "result": None}},
        {"type": "trigger", "function": {"name": "open"}},
    ],
)
async def test_activities_are_stored(api: Api, path: str, activity: dict[str, object]) -> None:
    reply = await api.post(f"{path}/create", {"type": "activity", "text": "", "meta": {"activity": activity}})
    assert reply.status == 200, reply.text


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        {"activity": None},
        {"activity": "request"},
        {"activity": {"type": "request"}},
        {"activity": {"type": "rumour", "function": {"name": "open"}}},
        {"activity": {"type": "request", "function": {"arguments": {}}}},
        {"activity": {"type": "request", "function": {"name": ""}}},
        {"activity": {"type": "request", "function": {"name": "open", "arguments": "{"}}},
        {"activity": {"type": "request", "function": {"name": "open", "arguments": [1]}}},
        {"activity": {"type": "request", "function": {"name": "open", "result": 1}}},
    ],
)
async def test_other_activities_are_refused(api: Api, path: str, meta: dict[str, object] | None) -> None:
    body = {"type": "activity", "text": "", "meta": meta}
    for reply, where in (
        (await api.post(f"{path}/create", body), "$.meta.activity"),
        (await api.post("/conversation/create", {"messages": [body]}), "$.messages[0].meta.activity"),
        (await api.post("/conversation/complete", {"messages": [body]}), "$.messages[0].meta.activity"),
    ):
        assert reply.status == 400
        assert reply.message.startswith(where)
    assert (await api.get(f"{path}/list")).items == []


async def test_an_update_may_not_break_an_activity(api: Api, path: str) -> None:
    created = await api.post(f"{path}/create", {"type": "activity", "text": "", "meta": {"activity": REQUEST}})
    plain = await api.post(f"{path}/create", {"type": "bot", "text": "a"})
    for message_id, changes in (
        (created.id, {"meta": {"activity": None}}),
        (created.id, {"meta": None}),
        (plain.id, {"type": "activity"}),
    ):
        assert (await api.post(f"{path}/{message_id}/update", changes)).status == 400
    assert (await api.post(f"{path}/{created.id}/update", {"meta": {"seen": True}})).status == 200
    assert (await api.post(f"{path}/{created.id}/update", {"type": "bot"})).status == 200


@pytest.mark.parametrize(
    "fields, begins",
    [
        ({"type": "wizard"}, "$.type"),
        ({"text": None}, "$.text"),
        ({"meta": {"_a": 1}}, "$.meta._a"),
        ({"name": 5}, "$.name"),
    ],
)
async def test_what_cannot_be_stored_is_refused(api: Api, path: str, fields: dict[str, object], begins: str) -> None:
    created = await api.post(f"{path}/create", {"type": "user", "text": "a"})
    for operation in ("create", f"{created.id}/update"):
        reply = await api.post(f"{path}/{operation}", {"type": "user", "text": "b", **fields})
        assert reply.status == 400
        assert reply.message.startswith(begins)
    assert [item["text"] for item in (await api.get(f"{path}/list")).items] == ["a"]


async def test_votes_on_messages(api: Api, path: str) -> None:
    created = await api.post(f"{path}/create", {"type": "bot", "text": "a"})
    for operation in ("upvote", "downvote"):
        assert (await api.post(f"{path}/{created.id}/{operation}", {"reason": "r"})).json == {"id": created.id}
    assert (await api.post(f"{path}/{created.id}/upvote", {"value": 1.5})).status == 400
