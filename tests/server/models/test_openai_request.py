from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.models.base import (
    FunctionAnswer,
    FunctionCall,
    FunctionSpec,
    ModelConfig,
    Prompt,
    PromptMessage,
)
from turnwise.server.models.openai_calls import wire_names
from turnwise.server.models.openai_request import Adaptation, Role, estimate_prompt, request_body, role_of
from turnwise.types.message import MessageType

PROMPT = Prompt(system="", messages=[PromptMessage("user", "Hi")])

ROLES: dict[MessageType, Role | None] = {
    "user": "user",
    "bot": "assistant",
    "context": "system",
    "instruction": "system",
    "backstory": "system",
    "checkpoint": "system",
    "reasoning": None,
    "activity": None,
}


@pytest.mark.parametrize("type", get_args(MessageType))
def test_message_types_have_roles_or_are_not_sent(type: MessageType) -> None:
    assert role_of(type) == ROLES[type]
    body = json.loads(request_body("m", Prompt(system="S", messages=[PromptMessage(type, "T")])))
    sent = [{"role": ROLES[type], "content": "T"}] if ROLES[type] else []
    assert body["messages"] == [{"role": "system", "content": "S"}, *sent]


def test_settings_that_are_not_set_are_not_sent() -> None:
    body = json.loads(request_body("m", Prompt(system="", messages=[], config=ModelConfig(region="eu"))))
    assert body == {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}}


@given(st.text(st.characters(codec="utf-8")))
def test_text_is_sent_unaltered(text: str) -> None:
    body = json.loads(request_body("m", Prompt(system="", messages=[PromptMessage("user", text)])))
    assert body["messages"] == [{"role": "user", "content": text}]


def test_only_what_is_sent_counts_as_input() -> None:
    thought = PromptMessage("reasoning", "x" * 4000)
    assert estimate_prompt(Prompt(system="", messages=[*PROMPT.messages, thought])) == estimate_prompt(PROMPT)


# Functions

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTIONS = [
    FunctionSpec(name="weather", description="Tells the weather.", parameters=SCHEMA),
    FunctionSpec(name="$time", description="Tells the time.", parameters={"type": "object"}),
]


def call(id: str, name: str = "weather", arguments: str = "{}") -> PromptMessage:
    return PromptMessage("activity", "", FunctionCall(id=id, name=name, arguments=arguments))


def answer(id: str, result: str, name: str = "weather") -> PromptMessage:
    return PromptMessage("activity", "", FunctionAnswer(id=id, name=name, result=result))


def called(id: str, name: str = "weather", arguments: str = "{}") -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def sent(*messages: PromptMessage, functions: list[FunctionSpec] | None = None) -> list[dict[str, object]]:
    body = json.loads(request_body("m", Prompt(system="", messages=messages, functions=functions or [])))
    return list(body["messages"])


def test_functions_are_offered_by_names_that_servers_take() -> None:
    body = json.loads(request_body("m", Prompt(system="", messages=[], functions=FUNCTIONS)))
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
        },
        {
            "type": "function",
            "function": {"name": "_time", "description": "Tells the time.", "parameters": {"type": "object"}},
        },
    ]
    assert "tool_choice" not in body


def test_a_function_that_must_be_called_is_chosen() -> None:
    body = json.loads(request_body("m", Prompt(system="", messages=[], functions=FUNCTIONS, force="$time")))
    assert body["tool_choice"] == {"type": "function", "function": {"name": "_time"}}
    assert len(body["tools"]) == 2


def test_where_nothing_can_be_chosen_it_is_the_only_one_offered() -> None:
    prompt = Prompt(system="", messages=[], functions=FUNCTIONS, force="$time")
    body = json.loads(request_body("m", prompt, frozenset({Adaptation.NO_TOOL_CHOICE})))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["_time"]
    assert "tool_choice" not in body


def test_calls_of_one_reply_are_one_message_with_its_text_and_results_follow() -> None:
    messages = sent(
        PromptMessage("user", "Weather?"),
        PromptMessage("bot", "Let me see."),
        call("a", arguments='{"city": "Graz"}'),
        call("b", name="$time"),
        answer("a", '{"degrees":21}'),
        answer("b", '"It is \\"9\\"."', name="$time"),
        call("c"),
        answer("c", "null"),
        PromptMessage("bot", "21 degrees."),
        functions=FUNCTIONS,
    )
    assert messages == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [called("a", arguments='{"city": "Graz"}'), called("b", name="_time")],
        },
        {"role": "tool", "tool_call_id": "a", "content": '{"degrees":21}'},
        {"role": "tool", "tool_call_id": "b", "content": 'It is "9".'},
        {"role": "assistant", "content": None, "tool_calls": [called("c")]},
        {"role": "tool", "tool_call_id": "c", "content": "null"},
        {"role": "assistant", "content": "21 degrees."},
    ]


def test_a_reply_that_said_nothing_has_no_content() -> None:
    (message,) = sent(PromptMessage("bot", ""), call("a"))
    assert message == {"role": "assistant", "content": None, "tool_calls": [called("a")]}


def test_calls_of_functions_that_are_no_longer_offered_are_sent_under_names_that_servers_take() -> None:
    messages = sent(call("a", name="look up!"), answer("a", "1", name="look up!"))
    assert messages[0]["tool_calls"] == [called("a", name="look_up_")]


def test_calls_results_and_functions_count_as_input() -> None:
    plain = estimate_prompt(PROMPT)
    calling = Prompt(system="", messages=[*PROMPT.messages, call("a", arguments='{"n": 1234}'), answer("a", "x" * 400)])
    assert estimate_prompt(calling) >= plain + 100 + 4
    assert estimate_prompt(Prompt(system="", messages=PROMPT.messages, functions=FUNCTIONS)) > plain + 20


@given(st.lists(st.text(min_size=1), unique=True))
def test_wire_names_are_taken_by_servers_and_differ(names: list[str]) -> None:
    wire = wire_names(names)
    assert set(wire) == set(names)
    assert len(set(wire.values())) == len(names)
    for name in wire.values():
        assert 1 <= len(name) <= 64
        assert all(character.isascii() and (character.isalnum() or character in "_-") for character in name)
