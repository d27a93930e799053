from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.models.base import ModelConfig, Prompt, PromptMessage
from turnwise.server.models.openai_request import Role, estimate_prompt, request_body, role_of
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
