from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.models.upstream import DONE, calls, chunk, event, piece, usage

from turnwise.server.models.base import (
    Delta,
    Finish,
    FunctionCall,
    FunctionSpec,
    Prompt,
    PromptMessage,
    ReasoningDelta,
    TextDelta,
)
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


def new_reader(prompt: Prompt = PROMPT) -> ReplyReader:
    return ReplyReader(Endpoint(base_url="http://127.0.0.1:1/v1"), "m", prompt)


def read(*packets: bytes, prompt: Prompt = PROMPT) -> list[Delta]:
    reply = new_reader(prompt)
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


# Functions

END = chunk(finish="tool_calls") + usage(3, 4) + DONE
TWO_CALLS = [
    FunctionCall(id="a", name="weather", arguments='{"city": "Graz"}'),
    FunctionCall(id="b", name="time", arguments="{}"),
]
FORMS = {
    "fragments": [
        calls(piece("", name="weather", id="a", index=0)),
        calls(piece('{"city"', index=0)),
        calls(piece(': "Graz"}', index=0)),
        calls(piece("", name="time", id="b", index=1)),
        calls(piece("{}", index=1)),
    ],
    "fragments that mix": [
        calls(piece(name="weather", id="a", index=0), piece(name="time", id="b", index=1)),
        calls(piece('{"city"', index=0), piece("{", index=1)),
        calls(piece("}", index=1), piece(': "Graz"}', index=0)),
    ],
    "whole, in one delta": [
        calls(piece('{"city": "Graz"}', name="weather", id="a", index=0), piece("{}", name="time", id="b", index=1))
    ],
    "whole, all under index 0": [
        calls(piece('{"city": "Graz"}', name="weather", id="a")),
        calls(piece("{}", name="time", id="b")),
    ],
    "whole, without an index": [
        calls(piece('{"city": "Graz"}', name="weather", id="a", index=None)),
        calls(piece("{}", name="time", id="b", index=None)),
    ],
    "fragments without an index": [
        calls(piece(name="weather", id="a", index=None)),
        calls(piece('{"city": ', index=None)),
        calls(piece('"Graz"}', index=None)),
        calls(piece(name="time", id="b", index=None)),
    ],
    "id and name again with every fragment": [
        calls(piece('{"city":', name="weather", id="a")),
        calls(piece(' "Graz"}', name="weather", id="a")),
        calls(piece("", name="weather", id="a")),
        calls(piece("", name="time", id="b", index=1)),
        calls(piece("{}", name="time", id="b", index=1)),
    ],
    "arguments left out": [
        calls(piece('{"city": "Graz"}', name="weather", id="a")),
        calls(piece(name="time", id="b", index=1)),
    ],
    "with the finish": [
        calls(piece('{"city": "Graz"}', name="weather", id="a")),
        calls(piece("", name="time", id="b", index=1), finish="tool_calls"),
    ],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_calls_are_put_together_whatever_form_they_come_in(form: list[bytes]) -> None:
    stream = chunk("Let me see.") + b"".join(form) + END
    told = [TextDelta("Let me see."), *TWO_CALLS, Finish(reason="calls", input_tokens=3, output_tokens=4)]
    for cut in range(len(stream) + 1):
        assert read(stream[:cut], stream[cut:]) == told


@pytest.mark.parametrize("index", [0, None])
def test_calls_without_ids_get_some(index: int | None) -> None:
    whole = [calls(piece('{"n": 1}', name="f", index=index)), calls(piece('{"n": 2}', name="f", index=index))]
    assert read(*whole, END)[:-1] == [
        FunctionCall(id="call00000", name="f", arguments='{"n": 1}'),
        FunctionCall(id="call00001", name="f", arguments='{"n": 2}'),
    ]


def test_an_id_that_is_made_is_never_another_calls() -> None:
    stream = calls(piece("{}", name="f", id="call00001")) + calls(piece("{}", name="g", index=1))
    ids = [delta.id for delta in read(stream, END) if isinstance(delta, FunctionCall)]
    assert ids == ["call00001", "call00002"]


def test_an_id_that_comes_twice_is_kept_once() -> None:
    stream = calls(piece("{}", name="f", id="a"), piece("{}", name="g", id="a", index=1))
    ids = [delta.id for delta in read(stream, END) if isinstance(delta, FunctionCall)]
    assert ids == ["a", "call00001"]


def test_a_function_called_twice_without_index_or_id_is_two_calls_though_the_first_has_no_arguments() -> None:
    whole = piece("", name="f", index=None), piece("{}", name="g", index=None), piece('{"n": 1}', name="f", index=None)
    made = [(delta.name, delta.arguments) for delta in read(calls(*whole), END) if isinstance(delta, FunctionCall)]
    assert made == [("f", "{}"), ("g", "{}"), ("f", '{"n": 1}')]


def test_a_name_that_comes_with_every_fragment_and_no_id_makes_one_call() -> None:
    fragments = [piece(part, name="f") for part in ("", '{"a', '": 1', "}", "")]
    assert read(*map(calls, fragments), END)[:-1] == [FunctionCall(id="call00000", name="f", arguments='{"a": 1}')]


def test_arguments_may_be_an_object() -> None:
    whole = {"index": 0, "id": "a", "function": {"name": "f", "arguments": {"city": "Graz"}}}
    assert read(calls(whole), END)[0] == FunctionCall(id="a", name="f", arguments='{"city":"Graz"}')


def test_calls_of_a_plain_json_answer_are_read() -> None:
    called = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": None, "tool_calls": called}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1}}
    first, finish = read(json.dumps(body).encode())
    assert first == FunctionCall(id="a", name="f", arguments="{}")
    assert isinstance(finish, Finish)
    assert (finish.reason, finish.input_tokens) == ("calls", 1)


def test_a_stop_with_calls_is_no_stop() -> None:
    finish = read(calls(piece("{}", name="f", id="a")), chunk(finish="stop") + DONE)[-1]
    assert isinstance(finish, Finish)
    assert finish.reason == "calls"
    assert finish.output_tokens == 1


def test_calls_that_the_length_cut_are_not_made() -> None:
    deltas = read(calls(piece('{"a": ', name="f", id="a")), chunk(finish="length"), usage(1, 2))
    assert deltas == [Finish(reason="length", input_tokens=1, output_tokens=2)]


@pytest.mark.parametrize("end", [b"", DONE], ids=["cut", "done"])
def test_calls_without_a_finish_are_not_made(end: bytes) -> None:
    with pytest.raises(UpstreamError, match="no finish_reason"):
        read(calls(piece("{}", name="f", id="a")), end)


def test_a_filtered_reply_makes_no_calls() -> None:
    with pytest.raises(UpstreamError, match="content filter"):
        read(calls(piece("{}", name="f", id="a")), chunk(finish="content_filter"), DONE)


def test_a_call_without_a_name_is_malformed() -> None:
    with pytest.raises(UpstreamError, match="without a name"):
        read(calls(piece("{}", id="a")), END)


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
def test_the_announcement_of_calls_without_any_is_an_error(reason: str) -> None:
    with pytest.raises(UpstreamError, match=reason):
        read(chunk(finish=reason) + DONE)


@pytest.mark.parametrize("none", ["null", "[]"])
def test_no_calls_are_said_in_two_ways(none: str) -> None:
    nothing = event(f'{{"choices": [{{"delta": {{"tool_calls": {none}}}}}]}}'.encode())
    assert read(nothing, chunk("x", finish="stop"))[0] == TextDelta("x")


def test_calls_carry_our_names_whatever_the_wire_calls_them() -> None:
    specs = [FunctionSpec(name=name, description="", parameters={}) for name in ("$price", "_price", "total")]
    prompt = Prompt(system="", messages=[], functions=specs)
    stream = calls(piece("{}", name="_price_2", id="a"), piece("{}", name="_price", id="b", index=1))
    names = [delta.name for delta in read(stream, END, prompt=prompt) if isinstance(delta, FunctionCall)]
    assert names == ["$price", "_price"]


@given(
    st.lists(st.tuples(st.sampled_from(["f", "g"]), st.dictionaries(st.text(), st.integers() | st.text())), max_size=5),
    st.data(),
)
def test_any_arguments_in_any_fragments_come_out_as_they_were(
    called: list[tuple[str, dict[str, int | str]]], data: st.DataObject
) -> None:
    events: list[bytes] = []
    wanted: list[Delta] = []
    for index, (name, arguments) in enumerate(called):
        text = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        events += [calls(piece("", name=name, id=f"i{index}", index=index))]
        events += [calls(piece(part, index=index)) for part in parts]
        wanted.append(FunctionCall(id=f"i{index}", name=name, arguments=text))
    stream = b"".join(events) + chunk(finish="tool_calls" if called else "stop") + DONE
    cut = data.draw(st.integers(0, len(stream)))
    assert read(stream[:cut], stream[cut:])[:-1] == wanted
