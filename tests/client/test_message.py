from __future__ import annotations

from types import NoneType

import msgspec

from turnwise import Entity, Message, MessageCreateResult, MessageId
from turnwise._call import Exchange
from turnwise.resources import message
from turnwise.types.event import MessageItemEvent

ENTITY = {"type": "name", "begin": 0, "end": 3, "text": "Ada"}


def sent(call: Exchange) -> object:
    """The body as it travels."""
    return msgspec.json.decode(msgspec.json.encode(call.body))


def test_list_asks_for_a_page_of_one_conversation() -> None:
    call = message.list_messages("c", "m1", order="desc", take=7)
    assert (call.method, call.path, call.ids) == ("GET", "/api/v1/conversation/{conversationId}/message/list", ("c",))
    assert (call.query, call.cursor, call.item) == ({"order": "desc", "take": 7}, "m1", Message)
    stream = call.stream()
    assert (stream.ids, stream.events, stream.result) == (("c",), MessageItemEvent, NoneType)


def test_fetch_reads_one() -> None:
    call = message.fetch_message("c", "m")
    assert (call.method, call.path, call.ids, call.body) == (
        "GET",
        "/api/v1/conversation/{conversationId}/message/{messageId}/fetch",
        ("c", "m"),
        None,
    )
    assert call.result is Message


def test_create_sends_what_is_given() -> None:
    call = message.create_message(
        "c",
        type="user",
        text="Ada",
        name="n",
        description="d",
        meta={"a": 1},
        entities=[Entity(type="name", begin=0, end=3, text="Ada")],
    )
    assert (call.method, call.path, call.ids) == (
        "POST",
        "/api/v1/conversation/{conversationId}/message/create",
        ("c",),
    )
    assert sent(call) == {
        "type": "user",
        "text": "Ada",
        "name": "n",
        "description": "d",
        "meta": {"a": 1},
        "entities": [ENTITY],
    }
    assert call.result is MessageCreateResult


def test_update_sends_what_is_given_and_no_more() -> None:
    call = message.update_message(
        "c", "m", type="bot", text="t", name=None, description=None, meta=None, entities=[ENTITY]
    )
    assert (call.method, call.path, call.ids) == (
        "POST",
        "/api/v1/conversation/{conversationId}/message/{messageId}/update",
        ("c", "m"),
    )
    assert sent(call) == {
        "type": "bot",
        "text": "t",
        "name": None,
        "description": None,
        "meta": None,
        "entities": [ENTITY],
    }
    assert sent(message.update_message("c", "m")) == {}
    assert call.result is MessageId


def test_delete_sends_an_empty_object() -> None:
    call = message.delete_message("c", "m")
    assert (call.method, call.path, call.ids) == (
        "POST",
        "/api/v1/conversation/{conversationId}/message/{messageId}/delete",
        ("c", "m"),
    )
    assert sent(call) == {}
    assert call.result is MessageId


def test_votes_carry_value_and_reason() -> None:
    up, down = message.upvote_message("c", "m", value=50), message.downvote_message("c", "m", reason="wrong")
    assert up.path == "/api/v1/conversation/{conversationId}/message/{messageId}/upvote"
    assert down.path == "/api/v1/conversation/{conversationId}/message/{messageId}/downvote"
    assert (sent(up), sent(down)) == ({"value": 50}, {"reason": "wrong"})
    assert up.ids == down.ids == ("c", "m")
    assert up.method == down.method == "POST"
    assert up.result is down.result is MessageId
