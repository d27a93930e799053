from __future__ import annotations

import json

import pytest
from rich.pretty import pretty_repr

from turnwise.types.conversation import Conversation, ConversationSendRequest
from turnwise.types.session import Session


@pytest.mark.parametrize(
    "made, told",
    [
        (ConversationSendRequest(text="hi"), {"text": "hi"}),
        (Conversation(id="c", created_at=1, updated_at=2), {"id": "c", "createdAt": 1, "updatedAt": 2}),
    ],
)
def test_what_was_made_here_is_told_as_it_stands_on_the_wire(
    made: ConversationSendRequest | Conversation, told: dict[str, object]
) -> None:
    assert made.to_dict() == told
    assert json.loads(made.to_json()) == told


def test_what_was_made_here_has_no_fields_that_we_do_not_know() -> None:
    made = Conversation(id="c", created_at=1, updated_at=2)
    assert made.extra == {}
    assert made.request_id is None


def test_a_sessions_token_is_masked_however_it_is_shown() -> None:
    session = Session(id="c", token="eyJ.secret.token", expires_at=1)
    for shown in (repr(session), f"{session}", pretty_repr(session)):
        assert "secret" not in shown
        assert "****" in shown
