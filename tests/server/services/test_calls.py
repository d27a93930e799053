from __future__ import annotations

import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.services.calling import check_calls

from turnwise.server.models.base import FunctionAnswer, FunctionCall, PromptMessage
from turnwise.server.services.activity import Activity, activity_message, check_activity
from turnwise.server.services.calls import UNANSWERED, units_of
from turnwise.types.message import Message, MessageInput, MessageType

Json = dict[str, object]


def said(type: MessageType, text: str) -> MessageInput:
    return MessageInput(type=type, text=text)


def request(name: str, arguments: Json | str | None = None) -> MessageInput:
    return activity("request", named(name, arguments))


def response(name: str, arguments: Json | str | None = None, result: object = "done") -> MessageInput:
    return activity("response", {**named(name, arguments), "result": result})


def activity(kind: str, function: Json) -> MessageInput:
    return MessageInput(type="activity", text="", meta={"activity": {"type": kind, "function": function}})


def named(name: str, arguments: Json | str | None = None) -> Json:
    return {"name": name} if arguments is None else {"name": name, "arguments": arguments}


def told(*history: MessageInput) -> list[list[str]]:
    """Return units as short lines: texts, calls as `name(arguments)`, answers as `name=result`."""
    return [[_line(message) for message in unit] for unit in units_of(history)]


def _line(message: PromptMessage) -> str:
    match message.activity:
        case None:
            return message.text
        case FunctionCall(_, name, arguments):
            return f"{name}({arguments})"
        case FunctionAnswer(_, name, result):
            return f"{name}={'?' if result == UNANSWERED else result}"


def test_a_reply_is_its_text_its_calls_and_their_answers_in_the_calls_order() -> None:
    assert told(
        said("user", "hi"),
        said("bot", "Let me see."),
        request("f", {"a": 1}),
        request("g", {}),
        response("g", {}, [1]),
        response("f", {"a": 1}, {"b": None}),
        said("bot", "Done."),
    ) == [["hi"], ["Let me see.", 'f({"a":1})', "g({})", 'f={"b":null}', "g=[1]"], ["Done."]]


def test_ids_are_the_same_every_time_and_differ() -> None:
    history = [request("f"), response("f"), request("f"), response("f")]
    ids = [message.activity.id for unit in units_of(history) for message in unit if message.activity]
    assert ids == ["call00000", "call00000", "call00001", "call00001"]


def test_calls_after_answers_are_another_reply() -> None:
    assert told(request("f"), response("f"), request("g"), response("g")) == [
        ["f({})", 'f="done"'],
        ["g({})", 'g="done"'],
    ]


def test_equal_calls_are_answered_in_order() -> None:
    twice = request("f", {"a": 1}), request("f", {"a": 1}), response("f", {"a": 1}, 1), response("f", {"a": 1}, 2)
    assert told(*twice) == [['f({"a":1})', 'f({"a":1})', "f=1", "f=2"]]


@pytest.mark.parametrize(
    "asked, answered",
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, ' {"a" : 1}'),
        ('{"a":1.0}', {"a": 1}),
        ({"a": [{"b": 2.0}]}, {"a": [{"b": 2}]}),
        ({"a": 1}, None),
        (None, {}),
        ("not json", "not json"),
    ],
)
def test_arguments_are_compared_by_what_they_mean(asked: Json | str | None, answered: Json | str | None) -> None:
    (unit,) = told(request("f", asked), response("f", answered))
    assert unit[1:] == ['f="done"']


def test_arguments_that_differ_do_not_pair() -> None:
    assert told(request("f", {"a": 1}), response("f", {"a": 2})) == [
        ['f({"a":1})', "f=?"],
        ['f({"a":2})', 'f="done"'],
    ]


def test_a_model_gets_arguments_as_an_object_whatever_was_recorded() -> None:
    assert told(request("f", '{"a": 1}'), request("f", "[1]"), request("f", '"{oops"'), request("f"))[0][:4] == [
        'f({"a": 1})',
        "f({})",
        "f({})",
        "f({})",
    ]


def test_a_request_that_nobody_answered_is_answered_with_an_error() -> None:
    assert told(request("f"), said("user", "Still there?")) == [["f({})", "f=?"], ["Still there?"]]
    assert "not answered" in json.loads(UNANSWERED)["error"]


def test_a_response_without_a_request_is_a_call_that_was_answered() -> None:
    assert told(said("user", "hi"), response("f", {"a": 1}), said("bot", "ok")) == [
        ["hi"],
        ['f({"a":1})', 'f="done"'],
        ["ok"],
    ]


def test_a_response_goes_behind_its_request_though_something_was_said_in_between() -> None:
    paired = ["f({})", 'f="done"']
    assert told(request("f"), said("user", "hm?"), response("f")) == [paired, ["hm?"]]
    assert told(request("f"), said("bot", "Wait."), response("f")) == [paired, ["Wait."]]
    assert told(request("f"), said("context", "It rains."), response("f")) == [paired, ["It rains."]]


def test_a_response_that_comes_after_the_bot_went_on_stays_where_it_came() -> None:
    assert told(request("f"), said("user", "hm?"), said("bot", "Not yet."), response("f")) == [
        ["f({})", "f=?"],
        ["hm?"],
        ["Not yet."],
        ["f({})", 'f="done"'],
    ]


def test_a_request_after_the_user_spoke_is_answered_before_the_one_that_was_passed_over() -> None:
    assert told(request("f"), said("user", "Again!"), request("f"), response("f")) == [
        ["f({})", "f=?"],
        ["Again!"],
        ["f({})", 'f="done"'],
    ]


def test_a_result_that_is_missing_is_null() -> None:
    assert told(request("f"), activity("response", named("f"))) == [["f({})", "f=null"]]


@pytest.mark.parametrize(
    "unread",
    [
        MessageInput(type="activity", text="x"),
        MessageInput(type="activity", text="x", meta=None),
        MessageInput(type="activity", text="x", meta={"activity": 1}),
        MessageInput(type="activity", text="x", meta={"activity": {"type": "request"}}),
        activity("trigger", named("f")),
        activity("dream", named("f")),
    ],
)
def test_triggers_and_what_cannot_be_read_are_not_shown(unread: MessageInput) -> None:
    assert told(said("user", "a"), unread) == [["a"]]


def test_reasoning_does_not_part_a_reply_from_its_calls() -> None:
    thought = said("reasoning", "hm")
    assert told(said("bot", "a"), thought, request("f"), thought, request("g"))[0][:3] == ["a", "f({})", "g({})"]


def test_stored_messages_are_read_like_given_ones() -> None:
    message = activity_message("request", "f", {"a": 1})
    stored = Message(id="1", type=message.type, text=message.text, meta=message.meta, created_at=1, updated_at=1)
    assert [_line(line) for line in units_of([stored])[0]] == ['f({"a":1})', "f=?"]


def test_arguments_nested_beyond_reason_are_read_all_the_same() -> None:
    deep = "[" * 700 + "]" * 700
    assert len(told(request("f", deep), response("f", deep))) == 1


SPOKEN = st.sampled_from([said("user", "u"), said("bot", "b"), said("context", "c"), said("reasoning", "r")])
CALLED = st.builds(request, st.sampled_from("fg"), st.sampled_from([{}, {"a": 1}, '{"a": 1.0}', None]))
ANSWERED = st.builds(
    response, st.sampled_from("fg"), st.sampled_from([{}, {"a": 1}, '{"a": 1.0}', None]), st.integers(0, 9)
)


@given(st.lists(SPOKEN | CALLED | ANSWERED, max_size=30))
def test_however_it_was_recorded_nothing_is_lost_and_every_call_is_answered(history: list[MessageInput]) -> None:
    units = units_of(history)
    messages = [message for unit in units for message in unit]
    check_calls(messages)
    for unit in units:
        check_calls(unit)
    texts = [message.text for message in history if message.type not in {"reasoning", "activity"}]
    assert [message.text for message in messages if message.activity is None] == texts
    answers = [message.activity.result for message in messages if isinstance(message.activity, FunctionAnswer)]
    activities = [activity for activity in map(recorded, history) if activity is not None]
    given_results = [str(activity.function.result) for activity in activities if activity.type == "response"]
    assert sorted(answer for answer in answers if answer != UNANSWERED) == sorted(given_results)
    calls = [message for message in messages if isinstance(message.activity, FunctionCall)]
    assert len(calls) >= sum(activity.type == "request" for activity in activities)


@given(st.lists(st.tuples(st.sampled_from("fg"), st.integers(0, 2)), max_size=8), st.randoms(use_true_random=False))
def test_responses_in_any_order_find_their_requests(called: list[tuple[str, int]], order: random.Random) -> None:
    requests = [request(name, {"n": number}) for name, number in called]
    responses = [response(name, {"n": number}, f"{name}{number}") for name, number in called]
    order.shuffle(responses)
    messages = [message for unit in units_of([*requests, *responses]) for message in unit]
    assert len(messages) == 2 * len(called)
    results = [message.activity.result for message in messages if isinstance(message.activity, FunctionAnswer)]
    assert results == [f'"{name}{number}"' for name, number in called]


def recorded(message: MessageInput) -> Activity | None:
    if message.type != "activity" or not isinstance(message.meta, dict):
        return None
    check_activity("activity", message.meta, "$")
    return msgspec.convert(message.meta["activity"], Activity)
