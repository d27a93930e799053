from __future__ import annotations

from typing import cast

import msgspec
import pytest
from openapi_spec_validator import validate
from tests.server.asgi import Api

from turnwise.server.routes import OPERATIONS


@pytest.fixture
async def document(api: Api) -> dict[str, object]:
    reply = await api("GET", "/api/v1/spec", secret="")
    assert reply.status == 200
    assert (await api("GET", "/v1/spec", secret="")).json == reply.json
    return reply.json


async def test_the_document_is_valid(document: dict[str, object]) -> None:
    validate(document)
    assert document["openapi"] == "3.1.0"


async def test_every_operation_is_described(document: dict[str, object]) -> None:
    paths = cast("dict[str, dict[str, dict[str, object]]]", document["paths"])
    described = {
        (path, method): operation["operationId"] for path, item in paths.items() for method, operation in item.items()
    }
    assert described == {(each.path, each.method.lower()): each.name for each in OPERATIONS}
    assert len(set(described.values())) == len(described)


async def test_streamed_operations_name_their_media_types(document: dict[str, object]) -> None:
    for path, method, expected in (
        (
            "/conversation/{conversationId}/complete",
            "post",
            ["application/json", "application/jsonl", "text/event-stream"],
        ),
        ("/conversation/export", "get", ["application/json", "application/jsonl", "text/event-stream", "text/csv"]),
        ("/conversation/create", "post", ["application/json"]),
    ):
        operation = document
        for key in ("paths", path, method, "responses", "200", "content"):
            operation = msgspec.convert(operation[key], dict[str, object])
        assert list(operation) == expected


def test_operations_have_names_and_paths_of_their_own() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({operation.path for operation in OPERATIONS}) == len(OPERATIONS)
