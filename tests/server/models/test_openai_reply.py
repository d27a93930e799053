from __future__ import annotations

import json

import pytest
from tests.server.models.upstream import DONE, chunk, event, usage

from turnwise.server.models.base import Delta, Finish, Prompt, PromptMessage, ReasoningDelta, TextDelta
from turnwise.server.models.openai_errors import Endpoint, UpstreamError
from turnwise.server.models.openai_reply import ReplyReader
from turnwise.server.models.sse import MAX_EVENT_BYTES

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


def new_reader() -> ReplyReader:
    return ReplyReader(Endpoint(base_url="http://127.0.0.1:1/v1"), "m", PROMPT)


def read(*packets: bytes) -> list[Delta]:
    reply = new_reader()
    deltas = [delta for packet in packets for delta in reply.feed(packet)] + list(reply.close())
    reply.check()
    return deltas


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


def test_a_failure_in_a_packet_with_deltas_is_kept_until_they_are_taken() -> None:
    reply = new_reader()
    assert reply.feed(chunk("We ") + event(b"<oops>")) == [TextDelta("We ")]
    with pytest.raises(UpstreamError):
        reply.check()


def test_an_end_that_brings_the_last_deltas_keeps_them_too() -> None:
    reply = new_reader()
    reply.feed(chunk("We ").rstrip())
    assert reply.close() == [TextDelta("We ")]
    with pytest.raises(UpstreamError):
        reply.check()


def test_a_document_that_never_ends_is_malformed() -> None:
    reply = new_reader()
    with pytest.raises(UpstreamError, match="cannot be read"):
        reply.feed(b'{"choices": "' + b"x" * MAX_EVENT_BYTES)


def test_an_event_that_never_ends_is_malformed() -> None:
    reply = new_reader()
    with pytest.raises(UpstreamError, match="cannot be read"):
        reply.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
