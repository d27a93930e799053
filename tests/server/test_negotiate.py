from __future__ import annotations

import pytest
from tests.server.asgi import Api

from turnwise.server.errors import BadRequest
from turnwise.server.negotiate import LISTED, STREAMED, Form, negotiate


@pytest.mark.parametrize(
    "accept, form",
    [
        (None, Form.JSON),
        ("", Form.JSON),
        (" , ", Form.JSON),
        ("*/*", Form.JSON),
        ("application/*", Form.JSON),
        ("application/json", Form.JSON),
        ("Application/JSONL", Form.JSONL),
        ("text/event-stream", Form.SSE),
        ("text/csv", Form.CSV),
        ("text/csv; charset=utf-8", Form.CSV),
        ("application/jsonl, application/json", Form.JSONL),
        ("application/json, application/jsonl", Form.JSON),
        ("application/json;q=0.5, application/jsonl;q=0.9", Form.JSONL),
        ("application/json;q=0.5, text/csv", Form.CSV),
        ("application/json ; q=0.1 , text/event-stream ; q=0.2", Form.SSE),
        ("text/html, */*;q=0.1", Form.JSON),
        ("application/json;q=0, */*", Form.JSONL),
        ("text/event-stream;q=nonsense, application/json", Form.SSE),
        ("text/event-stream;q=7, application/json", Form.SSE),
        ("text/html, application/jsonl", Form.JSONL),
    ],
)
def test_the_best_accepted_form_is_chosen(accept: str | None, form: Form) -> None:
    assert negotiate(None if accept is None else accept.encode(), LISTED) is form


@pytest.mark.parametrize("accept", ["text/html", "text/csv", "application/json;q=0", "image/*", "x" * 5000])
def test_an_accept_that_fits_none_is_refused_with_those_on_offer(accept: str) -> None:
    with pytest.raises(BadRequest, match="application/json, application/jsonl, text/event-stream"):
        negotiate(accept.encode(), STREAMED)


async def test_an_accept_that_fits_none_is_400(api: Api) -> None:
    conversation = await api.conversation()
    for reply in (
        await api.get("/conversation/list", accept="text/html"),
        await api.post(f"/conversation/{conversation}/complete", {"text": "hi"}, accept="text/csv"),
        await api.post(f"/conversation/{conversation}/send", {"text": "hi"}, accept="text/html"),
    ):
        assert (reply.status, reply.code) == (400, "BAD_REQUEST")
        assert reply.headers["content-type"] == "application/json"
    assert await api.texts(conversation) == []


async def test_operations_without_a_streamed_form_always_answer_json(api: Api) -> None:
    for accept in ("application/jsonl", "text/event-stream", "text/html", "application/json;q=0"):
        reply = await api.post("/conversation/create", {}, accept=accept)
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"
        assert (await api.get(f"/conversation/{reply.id}/fetch", accept=accept)).id == reply.id


async def test_several_accept_headers_are_one_list(api: Api) -> None:
    scope_headers = {"accept": "text/html", "Accept": "application/jsonl"}
    await api.conversation()
    reply = await api("GET", "/v1/conversation/list", headers=scope_headers)
    assert reply.headers["content-type"] == "application/jsonl"
