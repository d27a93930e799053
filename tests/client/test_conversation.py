from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import NoneType

import msgspec
import pytest

from turnwise import (
    OMIT,
    Conversation,
    ConversationCreateResult,
    ConversationId,
    ConversationUsage,
    MessageInput,
    Model,
)
from turnwise._call import Exchange
from turnwise.resources import conversation
from turnwise.types.event import (
    ConversationItemEvent,
)


def sent(call: Exchange) -> object:
    """The body as it travels."""
    return msgspec.json.decode(msgspec.json.encode(call.body))


def test_list_asks_for_a_page() -> None:
    call = conversation.list_conversations(
        "c1",
        order="asc",
        take=5,
        meta={"plan": "pro"},
        bot_id=["b1", "b2"],
        contact_id="k",
        task_id=None,
        timeout=3,
    )
    assert (call.method, call.path, call.item) == ("GET", "/api/v1/conversation/list", Conversation)
    assert call.query == {
        "order": "asc",
        "take": 5,
        "meta": {"plan": "pro"},
        "botId": "b1,b2",
        "contactId": "k",
        "taskId": None,
    }
    assert call.cursor == "c1"
    assert call.options == {"timeout": 3}


def test_lists_and_exports_stream_items() -> None:
    for call in (
        conversation.list_conversations(cursor="c1", take=5),
        conversation.export_conversations("c1", take=5),
    ):
        stream = call.stream()
        assert (stream.path, stream.events, stream.result) == (call.path, ConversationItemEvent, NoneType)
        assert stream.query["cursor"] == "c1"
        assert stream.query["take"] == 5


def test_export_asks_for_a_page() -> None:
    call = conversation.export_conversations(order="desc", take=2, meta={"a": True})
    assert (call.method, call.path, call.item) == ("GET", "/api/v1/conversation/export", Conversation)
    assert call.query == {"order": "desc", "take": 2, "meta": {"a": True}}
    assert call.cursor is None


def test_fetch_reads_one() -> None:
    call = conversation.fetch_conversation("c")
    assert (call.method, call.path, call.ids, call.body) == (
        "GET",
        "/api/v1/conversation/{conversationId}/fetch",
        ("c",),
        None,
    )
    assert call.result is Conversation


EVERYTHING = {
    "name": "n",
    "description": "d",
    "meta": {"k": None},
    "botId": "b",
    "model": "m/temperature=0",
    "backstory": "You are kind.",
    "datasetId": "ds",
    "skillsetId": "sk",
    "privacy": False,
    "moderation": True,
    "contactId": "ct",
    "taskId": "t",
    "spaceId": "s",
    "expiresAt": 1.5,
}


def test_create_sends_what_is_given() -> None:
    call = conversation.create_conversation(
        name="n",
        description="d",
        meta={"k": None},
        bot_id="b",
        model=Model("m", temperature=0),
        backstory="You are kind.",
        dataset_id="ds",
        skillset_id="sk",
        privacy=False,
        moderation=True,
        contact_id="ct",
        task_id="t",
        space_id="s",
        expires_at=1.5,
        messages=[MessageInput(type="user", text="hi")],
    )
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/create", ())
    assert sent(call) == {**EVERYTHING, "messages": [{"type": "user", "text": "hi"}]}
    assert call.result is ConversationCreateResult


def test_update_sends_what_is_given() -> None:
    call = conversation.update_conversation(
        "c",
        name="n",
        description="d",
        meta={"k": None},
        bot_id="b",
        model={"name": "m", "config": {"temperature": 0}},
        backstory="You are kind.",
        dataset_id="ds",
        skillset_id="sk",
        privacy=False,
        moderation=True,
        contact_id="ct",
        task_id="t",
        space_id="s",
        expires_at=1.5,
    )
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/{conversationId}/update", ("c",))
    assert sent(call) == EVERYTHING
    assert call.result is ConversationId


def test_what_is_omitted_stays_away_and_none_travels() -> None:
    assert sent(conversation.create_conversation()) == {}
    assert sent(conversation.create_conversation(messages=None, model=None, meta=None)) == {
        "messages": None,
        "model": None,
        "meta": None,
    }
    assert sent(conversation.update_conversation("c", expires_at=None)) == {"expiresAt": None}


def test_delete_sends_an_empty_object() -> None:
    call = conversation.delete_conversation("c")
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/{conversationId}/delete", ("c",))
    assert sent(call) == {}
    assert call.result is ConversationId


def test_votes_carry_value_and_reason() -> None:
    up = conversation.upvote_conversation("c", value=1, reason="good")
    assert (up.method, up.path, up.ids) == ("POST", "/api/v1/conversation/{conversationId}/upvote", ("c",))
    assert sent(up) == {"value": 1, "reason": "good"}
    down = conversation.downvote_conversation("c", value=-1)
    assert (down.method, down.path, down.ids) == ("POST", "/api/v1/conversation/{conversationId}/downvote", ("c",))
    assert sent(down) == {"value": -1}
    assert up.result is down.result is ConversationId


@pytest.mark.parametrize(
    "moment,text",
    [
        (datetime(2026, 11, 1, 12, 30, 1, 5999, tzinfo=UTC), "2026-11-01T12:30:01.005Z"),
        (datetime(2026, 11, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-11-01T10:00:00.000Z"),
        ("2026-11-01", "2026-11-01"),
        (None, None),
        (OMIT, OMIT),
    ],
)
def test_usage_takes_moments(moment: datetime | str | None, text: str | None) -> None:
    call = conversation.fetch_usage("c", from_=moment, to="2026-11-02T00:00:00Z")
    assert (call.method, call.path, call.ids) == ("GET", "/api/v1/conversation/{conversationId}/usage/fetch", ("c",))
    assert call.query == {"from": text, "to": "2026-11-02T00:00:00Z"}
    assert call.result is ConversationUsage


def test_a_moment_without_a_zone_is_local_time() -> None:
    moment = datetime(2026, 11, 1, 12)  # noqa: DTZ001 - the case in question
    expected = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert conversation.fetch_usage("c", from_=moment).query["from"] == expected


@pytest.mark.parametrize("model", [{"config": {}}, {"name": 1}, {"name": "m", "config": "temperature=0"}])
def test_a_model_that_is_no_model_is_refused(model: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r'a model given as a mapping is \{"name"'):
        conversation.create_conversation(model=model)
