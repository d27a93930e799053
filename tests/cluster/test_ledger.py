from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.cluster.balancer import Exchange
from tests.cluster.ledger import Ledger, Stored

SENT = ("c", "m")


def exchange(path: str, body: object, *answers: object, key: str = "k", status: int = 200) -> Exchange:
    answer = b"".join(json.dumps(each).encode() + b"\n" for each in answers)
    return Exchange("POST", f"/api/v1/conversation/{path}", key, json.dumps(body).encode(), 1, 0.0, status, answer)


SEND = exchange("c/send", {"text": " Hello "}, {"id": "m"})
CUT = exchange("c/send", {"text": "Hello"}, status=0)
DELETE = exchange("c/delete", {}, status=0)


def stored(*said: str, messages: int = 1, conversations: tuple[str, ...] = ("c",)) -> Stored:
    return Stored(set(conversations), Counter({SENT: messages}), Counter(("c", text) for text in said), [])


@pytest.mark.parametrize(
    "exchanges,found",
    [
        pytest.param([SEND], stored("Hello"), id="acknowledged, and there"),
        pytest.param([CUT, SEND], stored("Hello"), id="cut, and sent again under its key"),
        pytest.param([CUT], stored(messages=0), id="cut, and not there"),
        pytest.param([CUT], stored("Hello"), id="cut, and there"),
        pytest.param([SEND, DELETE], stored(messages=0, conversations=()), id="deleted, whether acknowledged or not"),
    ],
)
def test_what_may_be_passes(exchanges: list[Exchange], found: Stored) -> None:
    Ledger.of(exchanges).check(found)


@pytest.mark.parametrize(
    "exchanges,found",
    [
        pytest.param([SEND], stored(messages=0), id="lost"),
        pytest.param([SEND], stored(), id="its text lost"),
        pytest.param([SEND], stored("Hello", messages=2), id="doubled under its id"),
        pytest.param([CUT, SEND], stored("Hello", "Hello"), id="doubled under another id"),
        pytest.param([CUT], stored("Hello", "Hello"), id="doubled, and never acknowledged"),
        pytest.param([exchange("create", {}, {"id": "d"})], stored(), id="a conversation lost"),
    ],
)
def test_what_must_not_be_is_found(exchanges: list[Exchange], found: Stored) -> None:
    with pytest.raises(AssertionError):
        Ledger.of(exchanges).check(found)


def test_a_turn_that_is_left_is_found() -> None:
    found = stored("Hello")
    found.unfinished.append(("turn", "c", "complete", "running", "p", 1))
    with pytest.raises(AssertionError):
        Ledger.of([SEND]).check(found)


def test_what_a_stream_acknowledged_counts_also_if_it_was_cut() -> None:
    event = {"type": "sendResult", "data": {"id": "m"}}
    cut = exchange("c/complete", {"text": "Hello"}, {"type": "completeBegin", "data": {}}, event)
    cut.answer += b'{"type": "tok'
    assert Ledger.of([cut]).messages == {SENT}
