"""What the server answers, validated against the public description of the API, where that is at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from tests.server.asgi import Api

Schema = dict[str, object]

DECLARED = {"token", "reasoningToken", "message", "usage", "completeBegin", "completeEnd", "result", "item", "error"}
"""Types of events that the description has a schema for."""


@pytest.fixture(scope="session")
def description(root: Path) -> Schema:
    path = root.parent / "shared" / "spec" / "conversation-openapi.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    # A bot's reference and its configuration require nothing, so that exactly one can never hold.
    return cast("Schema", json.loads(path.read_text().replace('"oneOf"', '"anyOf"')))


class Description:
    """Finds the schemas of answers."""

    def __init__(self, document: Schema) -> None:
        self._document = document

    def check(self, method: str, path: str, media_type: str, value: object) -> None:
        found = self._document
        for key in ("paths", path, method, "responses", "200", "content", media_type, "schema"):
            found = cast("Schema", found[key])
        schema: Schema = {**found, "components": self._document["components"]}
        Draft202012Validator(schema).validate(value)  # pyright: ignore[reportUnknownMemberType]


@pytest.fixture
def described(description: Schema) -> Description:
    return Description(description)


CONVERSATION = "/conversation/{conversationId}"


async def test_awaited_answers(api: Api, described: Description) -> None:
    activity: Schema = {"type": "trigger", "function": {"name": "f", "arguments": {}}}
    body: Schema = {
        "name": "N",
        "meta": {"a": 1},
        "backstory": "B",
        "contactId": "c",
        "messages": [
            {"type": "user", "text": "hi"},
            {"type": "activity", "text": "", "meta": {"activity": activity}},
        ],
    }
    created = await api.post("/conversation/create", body)
    described.check("post", "/conversation/create", "application/json", created.json)
    root = f"/conversation/{created.id}"
    message = await api.post(f"{root}/message/create", {"type": "bot", "text": "t", "name": "n", "meta": {"b": 2}})
    described.check("post", f"{CONVERSATION}/message/create", "application/json", message.json)
    for name, sent in (
        ("update", {"name": "M"}),
        ("send", {"text": "t"}),
        ("complete", {"text": "t"}),
        ("receive", {}),
        ("upvote", {}),
        ("downvote", {}),
        ("session/create", {}),
    ):
        reply = await api.post(f"{root}/{name}", sent)
        described.check("post", f"{CONVERSATION}/{name}", "application/json", reply.json)
    for name in ("fetch", "usage/fetch", "message/list"):
        described.check("get", f"{CONVERSATION}/{name}", "application/json", (await api.get(f"{root}/{name}")).json)
    for name in ("list", "export"):
        reply = await api.get(f"/conversation/{name}")
        described.check("get", f"/conversation/{name}", "application/json", reply.json)
    of_message = f"{root}/message/{message.id}"
    template = f"{CONVERSATION}/message/{{messageId}}"
    described.check("get", f"{template}/fetch", "application/json", (await api.get(f"{of_message}/fetch")).json)
    for name in ("update", "upvote", "downvote", "delete"):
        reply = await api.post(f"{of_message}/{name}", {})
        described.check("post", f"{template}/{name}", "application/json", reply.json)
    stateless = await api.post("/conversation/complete", {"messages": [{"type": "user", "text": "hi"}]})
    described.check("post", "/conversation/complete", "application/json", stateless.json)
    described.check("post", f"{CONVERSATION}/delete", "application/json", (await api.post(f"{root}/delete")).json)


async def test_streamed_answers(api: Api, described: Description) -> None:
    conversation = await api.conversation(model="thinks", messages=[{"type": "user", "text": "hi"}])
    root = f"/conversation/{conversation}"
    jsonl = "application/jsonl"
    stateless: Schema = {"messages": [{"type": "user", "text": "hi"}], "model": "thinks"}
    for path, template, body in (
        (f"{root}/complete", f"{CONVERSATION}/complete", {"text": "t"}),
        (f"{root}/receive", f"{CONVERSATION}/receive", {}),
        (f"{root}/send", f"{CONVERSATION}/send", {"text": "t"}),
        ("/conversation/complete", "/conversation/complete", stateless),
    ):
        reply = await api.post(path, body, accept=jsonl)
        assert reply.types[-1] == "result"
        for event in reply.events:
            if event["type"] in DECLARED:
                described.check("post", template, jsonl, event)
    for path, template in (
        ("/conversation/list", "/conversation/list"),
        ("/conversation/export", "/conversation/export"),
        (f"{root}/message/list", f"{CONVERSATION}/message/list"),
    ):
        reply = await api.get(path, accept=jsonl)
        assert reply.events
        for event in reply.events:
            described.check("get", template, jsonl, event)


async def test_every_described_operation_is_served(api: Api, description: Schema) -> None:
    for path, item in cast("dict[str, Schema]", description["paths"]).items():
        for method in item.keys() & {"get", "post"}:
            reply = await api("OPTIONS", f"/api/v1{path}")
            assert reply.headers["allow"].startswith(method.upper()), path
