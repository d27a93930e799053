from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.encode import CsvTable, ascii_json, encode_events
from turnwise.server.negotiate import Form
from turnwise.types.event import PingEvent, Token, TokenEvent

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(texts)
def test_ascii_json_says_the_same(text: str) -> None:
    escaped = ascii_json(msgspec.json.encode(text))
    assert escaped.isascii()
    assert msgspec.json.decode(escaped) == text


@given(st.lists(texts, min_size=1, max_size=5))
def test_a_batch_is_one_event_a_line(tokens: list[str]) -> None:
    events = [TokenEvent(data=Token(token=token), created_at=1) for token in tokens]
    lines = encode_events(events, Form.JSONL).decode().split("\n")
    assert lines.pop() == ""
    assert [msgspec.json.decode(line, type=TokenEvent).data.token for line in lines] == tokens


def test_server_sent_events_have_type_and_data() -> None:
    events = [TokenEvent(data=Token(token="a\n\nb"), created_at=1), PingEvent(created_at=2)]
    assert encode_events(events, Form.SSE) == (
        b'event: token\ndata: {"type":"token","createdAt":1,"data":{"token":"a\\n\\nb"}}\n\n'
        b'event: ping\ndata: {"type":"ping","createdAt":2,"data":{}}\n\n'
    )


def test_a_table_has_one_header_and_cells_for_its_columns() -> None:
    table = CsvTable()
    first = table.encode([Token(token="a,b")])
    assert first == b'token\r\n"a,b"\r\n'
    assert table.encode([Token(token="")]) == b'""\r\n'
    assert table.encode([]) == b""
