from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnwise._lines import LineBuffer


@given(st.lists(st.binary(max_size=8).map(lambda piece: piece.replace(b"a", b"\n")), max_size=12))
def test_lines_add_up_to_the_bytes_and_end_in_line_breaks(blocks: list[bytes]) -> None:
    buffer = LineBuffer()
    lines = [buffer.feed(block) for block in blocks]
    assert all(part.endswith(b"\n") for part in lines if part)
    rest = buffer.close()
    assert b"\n" not in rest
    assert b"".join(lines) + rest == b"".join(blocks)


def test_only_line_feeds_end_a_line() -> None:
    buffer = LineBuffer()
    assert buffer.feed("a\u2028b\x0bc\r".encode()) == b""
    assert buffer.feed(b"d\ne") == "a\u2028b\x0bc\rd\n".encode()
    assert buffer.close() == b"e"
    assert buffer.close() == b""
