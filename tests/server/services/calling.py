"""What model servers demand of function calls."""

from __future__ import annotations

from collections.abc import Sequence

from turnwise.server.models.base import FunctionAnswer, FunctionCall, PromptMessage


def check_calls(messages: Sequence[PromptMessage]) -> None:
    """Assert that every reply's calls are answered right after it, in order, each under an id of its own."""
    seen: set[str] = set()
    calls: list[tuple[str, str]] = []
    answered = 0
    for message in messages:
        match message.activity:
            case FunctionCall(id, name, _):
                if answered == len(calls):
                    calls, answered = [], 0
                assert not answered, "a call between answers"
                assert id not in seen
                seen.add(id)
                calls.append((id, name))
            case FunctionAnswer(id, name, _):
                assert calls[answered] == (id, name)
                answered += 1
            case None:
                assert answered == len(calls), "a call without an answer"
    assert answered == len(calls)
