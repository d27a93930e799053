from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.models.base import Delta, Finish, ReasoningDelta, TextDelta
from turnwise.server.services.reply import Reply
from turnwise.types.event import Event, MessageEvent, ReasoningTokenEvent, TokenEvent

DELTAS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=5).map(TextDelta),
        st.text(min_size=1, max_size=5).map(ReasoningDelta),
    ),
    max_size=20,
)


def told(deltas: list[Delta], cuts: list[int]) -> tuple[Reply, list[Event]]:
    reply, events = Reply(lambda: 1), list[Event]()
    edges = [0, *sorted(min(cut, len(deltas)) for cut in cuts), len(deltas)]
    for begin, end in itertools.pairwise(edges):
        events += reply.take(deltas[begin:end])
    return reply, events


@given(DELTAS, st.lists(st.integers(0, 20), max_size=4))
def test_tokens_concatenated_are_the_reply_and_messages_repeat_it(deltas: list[Delta], cuts: list[int]) -> None:
    reply, events = told(deltas, cuts)
    events += reply.untold(reply.messages())
    text = "".join(event.data.token for event in events if isinstance(event, TokenEvent))
    reasoning = "".join(event.data.token for event in events if isinstance(event, ReasoningTokenEvent))
    messages = [event.data for event in events if isinstance(event, MessageEvent)]
    assert text == reply.text == messages[-1].text
    assert messages[-1].type == "bot"
    assert reasoning == reply.reasoning
    assert [message.type for message in messages[:-1]] == (["reasoning"] if reasoning else [])


@given(DELTAS)
def test_a_retold_reply_says_the_same_in_one_token_of_a_kind(deltas: list[Delta]) -> None:
    reply, _ = told(deltas, [])
    events = reply.retold()
    tokens = [event.data.token for event in events if isinstance(event, TokenEvent)]
    assert tokens == ([reply.text] if reply.text else [])
    assert sum(isinstance(event, ReasoningTokenEvent) for event in events) == bool(reply.reasoning)


def test_reasoning_is_a_message_of_its_own_before_the_first_word() -> None:
    _, events = told([ReasoningDelta("hm"), ReasoningDelta("m"), TextDelta("Yes")], [])
    assert [type(event).__name__ for event in events] == [
        "ReasoningTokenEvent",
        "ReasoningTokenEvent",
        "MessageEvent",
        "TokenEvent",
    ]
    assert isinstance(events[2], MessageEvent)
    assert events[2].data.text == "hmm"


def test_an_interrupted_reply_is_marked_and_without_a_word_not_kept() -> None:
    reply, _ = told([TextDelta("Half a")], [])
    (message,) = reply.messages("abort")
    assert (message.text, message.meta) == ("Half a", {"interrupted": True, "reason": "abort"})
    silent, _ = told([], [])
    assert silent.messages("error") == []


def test_a_reply_that_ended_without_a_word_is_an_empty_message() -> None:
    reply, _ = told([Finish(reason="stop", input_tokens=3, output_tokens=0)], [])
    assert [message.text for message in reply.messages()] == [""]
    assert reply.finish is not None
    assert reply.finish.input_tokens == 3
