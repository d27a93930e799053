from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.models.sse import MAX_EVENT_BYTES, EventBuffer, EventTooLong

STREAM = (
    b': hello\n\ndata: {"a": "\xc3\xa9 \xe2\x80\xa8"}\n\nevent: x\nid: 1\ndata:{"b":1}\n\n\n'
    b": ping\n\ndata: one\ndata: two\n\nretry: 5\n\ndata: [DONE]\n\n"
)
LINES = [b'{"a": "\xc3\xa9 \xe2\x80\xa8"}', b'{"b":1}', b"one", b"two", b"[DONE]"]


def read(*chunks: bytes) -> list[bytes]:
    buffer = EventBuffer()
    return [line for chunk in chunks for line in buffer.feed(chunk)] + buffer.close()


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
def test_every_cut_reads_the_same(stream: bytes) -> None:
    assert read(stream) == LINES
    for cut in range(len(stream)):
        assert read(stream[:cut], stream[cut:]) == LINES
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == LINES


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.booleans())
def test_several_cuts_read_the_same(cuts: list[int], crlf: bool) -> None:
    stream = STREAM.replace(b"\n", b"\r\n") if crlf else STREAM
    edges = sorted({0, *cuts, len(stream)})
    assert read(*(stream[begin:end] for begin, end in itertools.pairwise(edges))) == LINES


def test_a_complete_event_is_handed_out_before_the_next_begins() -> None:
    assert EventBuffer().feed(b"data: 1\n\ndata: 2") == [b"1"]


def test_a_missing_last_blank_line_loses_nothing() -> None:
    assert read(b"data: 1\n\ndata: 2\n") == [b"1", b"2"]
    assert read(b"data: 1") == [b"1"]


def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    buffer = EventBuffer()
    buffer.feed(b"data: ")
    with pytest.raises(EventTooLong):
        buffer.feed(b"x" * MAX_EVENT_BYTES)
