from __future__ import annotations

import msgspec

from turnwise import Session
from turnwise.resources import session


def test_create_asks_for_a_token_of_one_conversation() -> None:
    call = session.create_session("c", duration_in_seconds=60, retries=0)
    assert (call.method, call.path, call.ids) == (
        "POST",
        "/api/v1/conversation/{conversationId}/session/create",
        ("c",),
    )
    assert msgspec.json.encode(call.body) == b'{"durationInSeconds":60}'
    assert (call.result, call.options) == (Session, {"retries": 0})


def test_the_duration_may_be_left_to_the_server() -> None:
    assert msgspec.json.encode(session.create_session("c").body) == b"{}"
