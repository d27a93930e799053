from __future__ import annotations

import asyncio
import csv
import io

import pytest
from tests.server.asgi import Api

from turnwise.server.ids import now

FULL: dict[str, object] = {
    "name": "Support",
    "description": "Questions about opening hours",
    "meta": {"plan": "pro", "nested": {"a": [1, 2.5, None]}},
    "model": "echo/temperature=0",
    "backstory": "You keep a shop.",
    "privacy": False,
    "moderation": False,
    "contactId": "contact-1",
    "taskId": "task-1",
    "spaceId": "space-1",
    "expiresAt": 4_000_000_000_000,
}


async def test_what_was_created_can_be_fetched(api: Api) -> None:
    created = await api.post("/conversation/create", {**FULL, "unknown": 1})
    fetched = await api.get(f"/conversation/{created.id}/fetch")
    moment = fetched.json["createdAt"]
    assert fetched.json == {**FULL, "id": created.id, "createdAt": moment, "updatedAt": moment}


async def test_both_prefixes_and_an_empty_body_are_served(api: Api) -> None:
    for prefix in ("/api/v1", "/v1"):
        for body in (None, b"", b" \n", b"{}"):
            created = await api("POST", f"{prefix}/conversation/create", body)
            assert (await api("GET", f"{prefix}/conversation/{created.id}/fetch")).id == created.id


async def test_a_conversation_begins_with_its_messages(api: Api) -> None:
    activity: dict[str, object] = {"type": "request", "function": {"name": "open", "arguments": {}}}
    messages: list[dict[str, object]] = [
        {"type": "backstory", "text": "B"},
        {"type": "user", "text": " untrimmed "},
        {"type": "bot", "text": ""},
        {"type": "activity", "text": "", "meta": {"activity": activity}},
    ]
    created = await api.post("/conversation/create", {"messages": messages})
    assert created.json["messages"] == messages
    listed = (await api.get(f"/conversation/{created.id}/message/list")).items
    assert [{key: item[key] for key in ("type", "text", "meta") if key in item} for item in listed] == messages


async def test_update_changes_what_is_given_and_merges_meta(api: Api) -> None:
    conversation = await api.conversation(**FULL)
    changes = {"name": None, "meta": {"plan": None, "seats": 3}, "expiresAt": None, "backstory": "New."}
    reply = await api.post(f"/conversation/{conversation}/update", changes)
    assert reply.json == {"id": conversation}
    fetched = (await api.get(f"/conversation/{conversation}/fetch")).json
    assert "name" not in fetched
    assert "expiresAt" not in fetched
    assert fetched["backstory"] == "New."
    assert fetched["meta"] == {"nested": {"a": [1, 2.5, None]}, "seats": 3}
    assert fetched["description"] == FULL["description"]


async def test_a_deleted_conversation_is_unknown(api: Api) -> None:
    conversation = await api.conversation()
    assert (await api.post(f"/conversation/{conversation}/delete", {})).json == {"id": conversation}
    for reply in (
        await api.get(f"/conversation/{conversation}/fetch"),
        await api.post(f"/conversation/{conversation}/send", {"text": "hi"}),
        await api.post(f"/conversation/{conversation}/delete", {}),
        await api.get(f"/conversation/{conversation}/usage/fetch"),
    ):
        assert (reply.status, reply.code) == (404, "NOT_FOUND")


async def test_an_expired_conversation_is_gone(api: Api) -> None:
    expires_at = now() + 1500
    conversation = await api.conversation(expiresAt=expires_at)
    assert (await api.get(f"/conversation/{conversation}/fetch")).status == 200
    await asyncio.sleep((expires_at - now()) / 1000 + 0.05)
    assert (await api.get(f"/conversation/{conversation}/fetch")).status == 404
    assert (await api.get("/conversation/list")).items == []


@pytest.mark.parametrize("operation", ["create", "{id}/update"])
@pytest.mark.parametrize(
    "fields, status, begins",
    [
        ({"meta": {"_private": 1}}, 400, "$.meta._private"),
        ({"meta": []}, 400, "$.meta"),
        ({"name": 1}, 400, "$.name"),
        ({"expiresAt": "tomorrow"}, 400, "$.expiresAt"),
        ({"expiresAt": -1}, 400, "$.expiresAt"),
        ({"expiresAt": 1e300}, 400, "$.expiresAt"),
        ({"model": "nobody"}, 400, "There is no model 'nobody'. Configured: echo"),
        ({"botId": "b"}, 404, "botId"),
        ({"datasetId": "d"}, 404, "datasetId"),
        ({"skillsetId": "s"}, 404, "skillsetId"),
        ({"privacy": True}, 501, "privacy"),
        ({"moderation": True}, 501, "moderation"),
    ],
)
async def test_what_cannot_be_stored_is_refused_and_changes_nothing(
    api: Api, operation: str, fields: dict[str, object], status: int, begins: str
) -> None:
    conversation = await api.conversation(name="before")
    reply = await api.post(f"/conversation/{operation.format(id=conversation)}", {"description": "after", **fields})
    assert reply.status == status
    assert reply.message.startswith(begins)
    items = (await api.get("/conversation/list")).items
    assert [(item["name"], item.get("description")) for item in items] == [("before", None)]


@pytest.mark.parametrize(
    "body, begins",
    [
        (b"{", "$: the body is not JSON"),
        (b"[]", "$: Expected `object`, got `array`"),
        (b"null", "$: Expected `object`, got `null`"),
        (b'{"messages": [{"type": "user"}]}', "$.messages[0].text: this field is required"),
        (b'{"messages": [{"type": "wizard", "text": ""}]}', "$.messages[0].type: Invalid enum value 'wizard'"),
        (b'{"messages": [{"type": "user", "text": 1}]}', "$.messages[0].text: Expected `str`, got `int`"),
        (b'{"name": "\\ud800"}', "$: the body is not JSON"),
        (b'{"name": "\xed\xa0\x80"}', "$: the body is not UTF-8"),
        (b'{"name": "\xff"}', "$: the body is not UTF-8"),
        (b'{"meta": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}", "$: the body is nested too deeply"),
    ],
)
async def test_a_malformed_body_is_400_with_the_fields_path(api: Api, body: bytes, begins: str) -> None:
    reply = await api("POST", "/v1/conversation/create", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert reply.message.startswith(begins)
    assert (await api.get("/conversation/list")).items == []


async def test_lists_begin_with_the_newest_and_go_on_from_the_cursor(api: Api) -> None:
    made = [await api.conversation(name=str(index)) for index in range(5)]
    first = await api.get("/conversation/list?take=2")
    assert [item["id"] for item in first.items] == [made[4], made[3]]
    assert first.json["cursor"] == made[3]
    second = await api.get(f"/conversation/list?take=2&cursor={made[3]}")
    third = await api.get(f"/conversation/list?take=2&cursor={second.json['cursor']}")
    assert [item["id"] for item in [*second.items, *third.items]] == [made[2], made[1], made[0]]
    assert third.json["cursor"] == ""
    ascending = await api.get("/conversation/list?order=asc")
    assert [item["id"] for item in ascending.items] == made


async def test_a_page_that_just_holds_everything_is_the_last(api: Api) -> None:
    await api.conversation()
    assert (await api.get("/conversation/list?take=1")).json["cursor"] == ""
    assert (await api.get("/conversation/list?order=sideways")).status == 200
    assert (await api.get("/conversation/list?cursor=nonsense")).status == 400


@pytest.mark.parametrize(
    "take, count", [("0", 100), ("x", 100), ("", 100), ("1000", 100), ("-3", 1), ("1.5", 100), ("7", 7)]
)
async def test_take_is_clamped(api: Api, take: str, count: int) -> None:
    conversation = await api.conversation(messages=[{"type": "user", "text": str(index)} for index in range(120)])
    reply = await api.get(f"/conversation/{conversation}/message/list?take={take}")
    assert len(reply.items) == count


async def test_lists_are_filtered_by_meta_and_references(api: Api) -> None:
    pro = await api.conversation(meta={"plan": "pro", "paid": True, "seats": 3}, contactId="a", taskId="t")
    free = await api.conversation(meta={"plan": "free", "paid": "true"}, contactId="b")

    async def found(query: str) -> list[object]:
        return [item["id"] for item in (await api.get(f"/conversation/list?{query}")).items]

    assert await found("meta.plan=pro") == [pro]
    assert await found("meta%5Bplan%5D=free") == [free]
    assert await found("meta[plan]=pro&meta.paid=true") == [pro]
    assert await found("meta.paid=true") == [pro]
    assert await found("meta.seats=3") == [pro]
    assert await found("meta.plan=free&meta.paid=false") == []
    assert await found("contactId=a,b") == [free, pro]
    assert await found("contactId=b") == [free]
    assert await found("taskId=t&contactId=a") == [pro]
    assert await found("botId=x") == []


@pytest.mark.parametrize("path", ["/conversation/list", "/conversation/export"])
async def test_lists_stream_every_page(api: Api, path: str) -> None:
    made = [await api.conversation(name="ü") for _ in range(103)]
    streamed = await api.get(path, accept="application/jsonl")
    assert streamed.headers["content-type"] == "application/jsonl"
    assert [streamed.data(index)["id"] for index in range(103)] == made[::-1]
    assert set(streamed.types) == {"item"}
    assert streamed.body.isascii()
    some = await api.get(f"{path}?take=101", accept="text/event-stream")
    assert some.text.count("event: item\ndata: {") == 101


async def test_lists_come_as_csv(api: Api) -> None:
    await api.conversation(name='a "quoted", name\nof two lines', meta={"a": [1]})
    await api.conversation(name="ü", meta={"b": 2})
    reply = await api.get("/conversation/export?order=asc", accept="text/csv")
    assert reply.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert [(row["name"], row["meta"]) for row in rows] == [
        ('a "quoted", name\nof two lines', '{"a":[1]}'),
        ("ü", '{"b":2}'),
    ]
    assert list(rows[0]) == ["id", "createdAt", "updatedAt", "name", "meta"]


async def test_empty_lists_are_empty_in_every_form(api: Api) -> None:
    assert (await api.get("/conversation/list")).json == {"items": [], "cursor": ""}
    for accept in ("application/jsonl", "text/event-stream", "text/csv"):
        reply = await api.get("/conversation/list", accept=accept)
        assert (reply.status, reply.body) == (200, b"")


async def test_one_vote_in_a_while_counts(api: Api) -> None:
    conversation = await api.conversation()
    for name, body in (("upvote", None), ("upvote", {"value": 1, "reason": "good"}), ("downvote", {"value": -100})):
        reply = await api.post(f"/conversation/{conversation}/{name}", body)
        assert reply.json == {"id": conversation}
    for name, value in (("upvote", 0), ("upvote", 101), ("upvote", -5), ("downvote", 5), ("downvote", -101)):
        reply = await api.post(f"/conversation/{conversation}/{name}", {"value": value})
        assert reply.status == 400
        assert reply.message.startswith("$.value")


async def test_usage_sums_tokens_and_messages(api: Api) -> None:
    conversation = await api.conversation()
    path = f"/conversation/{conversation}/usage/fetch"
    assert (await api.get(path)).json == {"tokens": 0, "messages": 0}
    await api.post(f"/conversation/{conversation}/complete", {"text": "hi"})
    assert (await api.get(path)).json == {"tokens": 10, "messages": 2}
    for query, messages in (
        ("from=2020-01-01", 2),
        ("from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00%2B02:00", 2),
        ("from=2099-01-01T00:00:00+02:00&to=2100-01-01", 0),
        ("to=2020-01-01&from=2019-01-01", 0),
    ):
        assert (await api.get(f"{path}?{query}")).json["messages"] == messages, query
    for query, named in (("from=yesterday", "from"), ("to=2026-99-99", "to"), ("from=2100-01-01", "from")):
        reply = await api.get(f"{path}?{query}")
        assert reply.status == 400
        assert reply.message.startswith(named)


@pytest.mark.parametrize(
    "method, path",
    [
        ("POST", "/conversation/{id}/compact"),
        ("POST", "/conversation/compact"),
        ("POST", "/conversation/{id}/contact/upsert"),
        ("GET", "/conversation/{id}/attachment/list"),
        ("POST", "/conversation/{id}/attachment/upload"),
        ("POST", "/Attachment/{id}/upload"),
        ("POST", "/conversation/{id}/message/m/synthesize"),
    ],
)
async def test_operations_to_come_say_so(api: Api, method: str, path: str) -> None:
    conversation = await api.conversation()
    reply = await api(method, f"/api/v1{path.format(id=conversation)}", {"any": "thing"})
    assert (reply.status, reply.code) == (501, "NOT_IMPLEMENTED")
