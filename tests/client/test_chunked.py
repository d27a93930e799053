from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise._transport.chunked import ChunkedBody

BODY = b"5\r\nhello\r\n3;name=value\r\n\r\n!\r\n1\r\nx\r\n0\r\nx-trailer: 1\r\n\r\n"
PLAIN = b"hello\r\n!x"


@pytest.mark.parametrize("cut", range(len(BODY) + 1))
def test_a_body_cut_anywhere_reads_the_same(cut: int) -> None:
    body = ChunkedBody()
    assert body.feed(BODY[:cut]) + body.feed(BODY[cut:]) == PLAIN
    assert body.done
    assert body.surplus == b""


def test_a_body_that_comes_byte_by_byte_is_given_on_at_once() -> None:
    body = ChunkedBody()
    assert b"".join(body.feed(bytes([byte])) for byte in BODY) == PLAIN
    assert ChunkedBody().feed(b"5\r\nhe") == b"he"


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.integers(1, 40))
def test_any_chunks_in_any_pieces_read_the_same(chunks: list[bytes], size: int) -> None:
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    body = ChunkedBody()
    read = b"".join(body.feed(sent[begin : begin + size]) for begin in range(0, len(sent), size))
    assert read == b"".join(chunks)
    assert body.done


def test_what_follows_the_body_is_told() -> None:
    body = ChunkedBody()
    body.feed(b"0\r\n\r\nHTTP/1.1")
    assert body.done
    assert body.surplus == b"HTTP/1.1"


@pytest.mark.parametrize("broken", [b"nonsense\r\n", b"-1\r\n\r\n", b"\r\nx\r\n"])
def test_broken_framing_is_told_after_what_came_before_it(broken: bytes) -> None:
    body = ChunkedBody()
    assert body.feed(b"1\r\nx\r\n" + broken) == b"x"
    assert body.broken
    assert not body.done
