from __future__ import annotations

from types import MappingProxyType

import msgspec

from turnwise import (
    AttachmentReference,
    CompleteResult,
    ContactInput,
    Entity,
    Extensions,
    FunctionDefinition,
    FunctionResult,
    Limits,
    Message,
    MessageInput,
    ReceiveResult,
    SendResult,
    StatelessCompleteResult,
    TextMessage,
)
from turnwise._call import Exchange
from turnwise.resources import exchange
from turnwise.types.event import CompleteEvent, ReceiveEvent, SendEvent, StatelessCompleteEvent

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "result": {"data": None}}
ENTITY = {"type": "name", "begin": 0, "end": 3, "text": "Ada"}


def sent(call: Exchange) -> object:
    """The body as it travels."""
    return msgspec.json.decode(msgspec.json.encode(call.body))


def test_messages_may_come_from_answers_and_events() -> None:
    call = exchange.complete_stateless(
        None,
        messages=[
            {"type": "context", "text": "We open at nine."},
            MappingProxyType({"type": "user", "text": "When?"}),
            MessageInput(type="user", text="Tell me.", meta={"a": 1}),
            TextMessage(type="bot", text="At nine."),
            Message(id="m", type="user", text="Thanks", created_at=1, updated_at=2, name="x"),
        ],
    )
    assert sent(call) == {
        "messages": [
            {"type": "context", "text": "We open at nine."},
            {"type": "user", "text": "When?"},
            {"type": "user", "text": "Tell me.", "meta": {"a": 1}},
            {"type": "bot", "text": "At nine."},
            {"type": "user", "text": "Thanks"},
        ]
    }


def test_a_stateless_completion_sends_everything_and_waits_patiently() -> None:
    call = exchange.complete_stateless(
        None,
        messages=[{"type": "user", "text": "hi"}],
        bot_id="b",
        model="m",
        backstory="s",
        dataset_id="ds",
        skillset_id="sk",
        privacy=True,
        moderation=False,
        attachments=[AttachmentReference(url="https://x.example/a"), {"url": "data:,b"}],
        contact_id=ContactInput(fingerprint="p"),
        functions=[
            FunctionDefinition(
                name="f", description="d", parameters={"type": "object"}, result=FunctionResult(data=None)
            )
        ],
        extensions=Extensions(backstory="more"),
        limits=Limits(iterations=2),
    )
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/complete", ())
    assert sent(call) == {
        "messages": [{"type": "user", "text": "hi"}],
        "botId": "b",
        "model": "m",
        "backstory": "s",
        "datasetId": "ds",
        "skillsetId": "sk",
        "privacy": True,
        "moderation": False,
        "attachments": [{"url": "https://x.example/a"}, {"url": "data:,b"}],
        "contactId": {"fingerprint": "p"},
        "functions": [FUNCTION],
        "extensions": {"backstory": "more"},
        "limits": {"iterations": 2},
    }
    assert (call.result, call.events, call.patient) == (StatelessCompleteResult, StatelessCompleteEvent, True)
    assert (call.stream().result, call.stream().events) == (StatelessCompleteResult, StatelessCompleteEvent)


def test_a_contact_may_be_an_id_or_a_mapping() -> None:
    for contact in ("k", {"fingerprint": "p"}):
        call = exchange.complete_stateless(None, messages=[], contact_id=contact)
        assert sent(call) == {"messages": [], "contactId": contact}


def test_a_stateful_completion_sends_everything_and_waits_patiently() -> None:
    call = exchange.complete_conversation(
        "c",
        text="hi",
        entities=[Entity(type="name", begin=0, end=3, text="Ada"), ENTITY],
        functions=[FUNCTION],
        extensions={"features": []},
        limits={"calls": 1},
    )
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/{conversationId}/complete", ("c",))
    assert sent(call) == {
        "text": "hi",
        "entities": [ENTITY, ENTITY],
        "functions": [FUNCTION],
        "extensions": {"features": []},
        "limits": {"calls": 1},
    }
    assert (call.result, call.events, call.patient) == (CompleteResult, CompleteEvent, True)


def test_send_sends_a_message() -> None:
    call = exchange.send_message("c", text="hi", entities=[ENTITY], functions=None, extensions=None)
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/{conversationId}/send", ("c",))
    assert sent(call) == {"text": "hi", "entities": [ENTITY], "functions": None, "extensions": None}
    assert (call.result, call.events, call.patient) == (SendResult, SendEvent, False)


def test_receive_asks_for_a_reply_and_waits_patiently() -> None:
    call = exchange.receive_message("c", functions=[FUNCTION], extensions={}, limits={"continuations": 1})
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/{conversationId}/receive", ("c",))
    assert sent(call) == {"functions": [FUNCTION], "extensions": {}, "limits": {"continuations": 1}}
    assert (call.result, call.events, call.patient) == (ReceiveResult, ReceiveEvent, True)
