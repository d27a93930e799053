from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.errors import BadRequest
from turnwise.server.services.activity import activity_message, check_activity, stored_arguments
from turnwise.types._base import OMIT
from turnwise.types.message import MessageInput


def refused(activity: object) -> str:
    with pytest.raises(BadRequest) as caught:
        check_activity("activity", {"activity": activity}, "$")
    return caught.value.message


def test_a_request_is_recorded_without_a_result() -> None:
    assert activity_message("request", "f", {"n": 1}).to_dict() == {
        "type": "activity",
        "text": "",
        "meta": {"activity": {"type": "request", "function": {"name": "f", "arguments": {"n": 1}}}},
    }


@pytest.mark.parametrize("result", [None, 0, "", [], {"error": "boom"}])
def test_a_response_is_recorded_with_its_result_whatever_it_is(result: object) -> None:
    meta = activity_message("response", "f", {}, result).meta
    assert meta == {"activity": {"type": "response", "function": {"name": "f", "arguments": {}, "result": result}}}


@pytest.mark.parametrize(
    "text, stored",
    [
        ('{"n": 1}', {"n": 1}),
        ("", {}),
        (" \n", {}),
        ("[1]", '"[1]"'),
        ("null", {}),
        ('{"n":', '"{\\"n\\":"'),
    ],
)
def test_arguments_are_recorded_as_an_object_or_as_json_of_what_they_were(text: str, stored: object) -> None:
    assert stored_arguments(text) == stored


@given(st.text(), st.sampled_from(["request", "response"]))
def test_whatever_a_message_event_carries_is_accepted_unchanged(text: str, kind: str) -> None:
    arguments = stored_arguments(text)
    message = (
        activity_message("request", "f", arguments)
        if kind == "request"
        else activity_message("response", "f", arguments, {"error": text})
    )
    given_back = msgspec.json.decode(message.to_json(), type=MessageInput)
    assert given_back.meta == message.meta
    check_activity(given_back.type, given_back.meta, "$")


@pytest.mark.parametrize(
    "activity",
    [
        {"type": "request", "function": {"name": "f"}},
        {"type": "request", "function": {"name": "f", "arguments": None}},
        {"type": "request", "function": {"name": "f", "arguments": '{"n": 1}'}},
        {"type": "response", "function": {"name": "f", "result": None}},
        {"type": "trigger", "function": {"name": "f", "arguments": {}}},
    ],
)
def test_activities_in_every_form_are_taken(activity: object) -> None:
    check_activity("activity", {"activity": activity}, "$")


@pytest.mark.parametrize(
    "activity, path",
    [
        (None, "$.meta.activity: a message of type `activity` needs it"),
        ({"type": "dream", "function": {"name": "f"}}, "$.meta.activity: Invalid enum value 'dream'"),
        ({"type": "request"}, "$.meta.activity: Object missing required field `function`"),
        ({"type": "request", "function": {"name": ""}}, "$.meta.activity: "),
        ({"type": "request", "function": {"name": "f", "arguments": [1]}}, "$.meta.activity: "),
        ({"type": "request", "function": {"name": "f", "arguments": "{"}}, "$.meta.activity.function.arguments: "),
        ({"type": "request", "function": {"name": "f", "result": 1}}, "$.meta.activity.function.result: "),
    ],
)
def test_anything_else_is_refused_with_its_path(activity: object, path: str) -> None:
    assert refused(activity).startswith(path)


@pytest.mark.parametrize("meta", [None, OMIT, {}, {"activity": 5}])
def test_messages_of_other_types_may_carry_anything(meta: dict[str, object] | None | msgspec.UnsetType) -> None:
    check_activity("user", meta, "$")
