from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.models.upstream import DONE, chunk, event, usage

from turnwise.server.models.base import Delta, Finish, ModelConfig, Prompt, PromptMessage, ReasoningDelta, TextDelta
from turnwise.server.models.openai_errors import Endpoint, UpstreamError
from turnwise.server.models.openai_wire import Reply, Role, estimate_prompt, request_body, role_of
from turnwise.server.models.sse import MAX_EVENT_BYTES
from turnwise.types.message import MessageType

PROMPT = Prompt(system="", messages=[PromptMessage("user", "Hi")])
STREAM = b"".join(
    [
        b": keep-alive\n\n",
        chunk(""),
        chunk(reasoning="hm \u2028", field="reasoning_content"),
        chunk("Grüß "),
        event(json.dumps({"choices": [{"delta": {"content": "Gott 👋\n\n"}}]}, ensure_ascii=False).encode()),
        chunk(finish="stop"),
        usage(3, 4),
        DONE,
    ]
)
DELTAS = [
    ReasoningDelta("hm \u2028"),
    TextDelta("Grüß "),
    TextDelta("Gott 👋\n\n"),
    Finish(reason="stop", input_tokens=3, output_tokens=4),
]


def new_reply() -> Reply:
    return Reply(Endpoint(base_url="http://127.0.0.1:1/v1"), "m", PROMPT)


def read(*packets: bytes) -> list[Delta]:
    reply = new_reply()
    return [delta for packet in packets for delta in reply.feed(packet)] + list(reply.close())


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
def test_every_cut_of_a_stream_gives_the_same_deltas(stream: bytes) -> None:
    for cut in range(len(stream) + 1):
        assert read(stream[:cut], stream[cut:]) == DELTAS


def test_a_stream_that_ends_early_anywhere_is_never_a_short_answer() -> None:
    whole = STREAM.index(b'"finish_reason": "stop"') + len(b'"finish_reason": "stop"}]}')
    for end in range(whole):
        with pytest.raises(UpstreamError):
            read(STREAM[:end])


def test_a_plain_json_answer_may_come_in_pieces() -> None:
    body = b' \n{"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}'
    for cut in range(len(body)):
        assert read(body[:cut], body[cut:])[0] == TextDelta("ok")


@pytest.mark.parametrize(
    "said, meant", [("stop", "stop"), ("eos", "stop"), ("length", "length"), ("max_tokens", "length")]
)
def test_finish_reasons_are_mapped(said: str, meant: str) -> None:
    finish = read(chunk("x", finish=said))[-1]
    assert isinstance(finish, Finish)
    assert finish.reason == meant


def test_chunks_that_say_nothing_are_no_deltas() -> None:
    nothing = event({"choices": [], "usage": None}) + event({"choices": None}) + event({"choices": [{"delta": None}]})
    assert read(nothing, chunk("x", finish="stop"))[0] == TextDelta("x")


def test_an_event_that_never_ends_is_malformed() -> None:
    reply = new_reply()
    with pytest.raises(UpstreamError, match="cannot be read"):
        reply.feed(b"data: " + b"x" * MAX_EVENT_BYTES)


ROLES: dict[MessageType, Role | None] = {
    "user": "user",
    "bot": "assistant",
    "context": "system",
    "instruction": "system",
    "backstory": "system",
    "checkpoint": "system",
    "reasoning": None,
    "activity": None,
}


@pytest.mark.parametrize("type", get_args(MessageType))
def test_message_types_have_roles_or_are_not_sent(type: MessageType) -> None:
    assert role_of(type) == ROLES[type]
    body = json.loads(request_body("m", Prompt(system="S", messages=[PromptMessage(type, "T")])))
    sent = [{"role": ROLES[type], "content": "T"}] if ROLES[type] else []
    assert body["messages"] == [{"role": "system", "content": "S"}, *sent]


def test_settings_that_are_not_set_are_not_sent() -> None:
    body = json.loads(request_body("m", Prompt(system="", messages=[], config=ModelConfig(region="eu"))))
    assert body == {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}}


@given(st.text(st.characters(codec="utf-8")))
def test_text_is_sent_unaltered(text: str) -> None:
    body = json.loads(request_body("m", Prompt(system="", messages=[PromptMessage("user", text)])))
    assert body["messages"] == [{"role": "user", "content": text}]


def test_only_what_is_sent_counts_as_input() -> None:
    thought = PromptMessage("reasoning", "x" * 4000)
    assert estimate_prompt(Prompt(system="", messages=[*PROMPT.messages, thought])) == estimate_prompt(PROMPT)
