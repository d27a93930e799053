"""The official Node client, unchanged, against our server: every method of its ConversationClient."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deployed import serving
from tests.node.driving import CUT, drive
from tests.server.asgi import ScriptedModels

from turnwise.server.settings import Settings

Steps = dict[str, Any]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """What each step of the script gave."""
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('node') / 'turnwise.db'}", grace=1)
    with serving(settings, ScriptedModels()) as server:
        told: Steps = drive("drive.mjs", server, survived=lambda told: not any(map(cut, told["steps"].values())))
    return told


def cut(outcome: dict[str, Any] | list[Any] | None) -> bool:
    """Tell whether a step ended with its connection."""
    events = outcome if isinstance(outcome, list) else [outcome]
    return any(event and "failed" in event and event["failed"]["message"] in CUT for event in events)


@pytest.fixture
def steps(driven: Steps) -> Steps:
    steps: Steps = driven["steps"]
    return steps


@pytest.fixture
def ids(driven: Steps) -> dict[str, str]:
    ids: dict[str, str] = driven["ids"]
    return ids


def failed(outcome: Any) -> tuple[str, str]:
    failure = outcome["failed"]
    return failure["code"], failure["message"]


def tokens(events: list[Any]) -> str:
    return "".join(event["data"]["token"] for event in events if event["type"] == "token")


def types(events: list[Any]) -> list[str]:
    """The types of events, a run of tokens as one."""
    found = [event["type"] for event in events]
    return [kind for number, kind in enumerate(found) if kind != "token" or found[number - 1] != "token"]


def test_every_method_of_the_client_was_called(steps: Steps) -> None:
    assert steps["uncalled"] == []


def test_conversations(steps: Steps, ids: dict[str, str]) -> None:
    assert steps["create"]["messages"] == [{"type": "user", "text": "Grüße 😀 \u2028"}]
    fetched = steps["fetch"]
    assert (fetched["id"], fetched["name"], fetched["meta"]) == (ids["id"], "Café", {"plan": "pro"})
    assert fetched["model"] == "echo/maxTokens=50"
    assert steps["update"] == {"id": ids["id"]}
    assert (steps["fetch updated"]["name"], steps["fetch updated"]["meta"]) == ("Bar", {"more": True})
    assert steps["upvote"] == steps["downvote"] == {"id": ids["id"]}
    assert steps["delete"] == {"id": ids["other"]}
    assert failed(steps["fetch deleted"])[0] == "NOT_FOUND"


def test_an_operation_without_a_streamed_form_answers_json_to_a_stream(steps: Steps) -> None:
    assert steps["fetch streamed"] == [steps["fetch"]]


def test_lists(steps: Steps, ids: dict[str, str]) -> None:
    assert [item["id"] for item in steps["list"]["items"]] == [ids["other"], ids["id"]]
    assert steps["list"]["cursor"] == ""
    assert [item["id"] for item in steps["list one"]["items"]] == [ids["id"]]
    assert [item["id"] for item in steps["list next"]["items"]] == [ids["other"]]
    assert [item["id"] for item in steps["list by meta"]["items"]] == [ids["other"]]
    assert [(event["type"], event["data"]["id"]) for event in steps["list streamed"]] == [
        ("item", ids["id"]),
        ("item", ids["other"]),
    ]


def test_send_and_receive(steps: Steps) -> None:
    assert steps["send"]["entities"] == []
    assert steps["receive"]["text"] == "You said: hello ☕"
    assert types(steps["send streamed"]) == ["result"]
    received = steps["receive streamed"]
    assert received[-1]["type"] == "result"
    assert received[-1]["data"]["text"] == tokens(received) == "You said: again"


def test_complete(steps: Steps) -> None:
    assert steps["complete"]["text"] == "You said: whole"
    assert steps["complete"]["end"] == {"reason": "stop"}
    events = steps["complete streamed"]
    assert types(events) == [
        "sendResult",
        "completeBegin",
        "token",
        "message",
        "usage",
        "completeEnd",
        "receiveResult",
        "result",
    ]
    assert tokens(events) == events[-1]["data"]["text"] == "You said: Grüße 😀 \u2028 all"


def test_complete_stateless(steps: Steps) -> None:
    assert steps["complete stateless"]["text"] == "You said: hi"
    assert "id" not in steps["complete stateless"]
    events = steps["complete stateless streamed"]
    assert "reasoningToken" in types(events)
    assert tokens(events) == events[-1]["data"]["text"] == "Grüße 😀"


def test_messages(steps: Steps, ids: dict[str, str]) -> None:
    one = {"id": ids["message"]}
    assert steps["message create"] == {**one, "entities": []}
    fetched = steps["message fetch"]
    assert (fetched["type"], fetched["text"], fetched["meta"]) == ("user", "One", {"a": 1})
    assert steps["message update"] == steps["message upvote"] == steps["message downvote"] == one
    assert [item["text"] for item in steps["message list"]["items"]] == ["Uno"]
    assert [event["data"]["text"] for event in steps["message list streamed"]][:3] == [
        "Grüße 😀 \u2028",
        "hello ☕",
        "You said: hello ☕",
    ]
    assert steps["message delete"] == one
    assert steps["message list after"]["items"] == []


def test_sessions(steps: Steps, ids: dict[str, str]) -> None:
    assert steps["session create"]["id"] == ids["id"]
    assert steps["session complete"]["text"] == "You said: from a page"
    assert failed(steps["session list"])[0] == "NOT_AUTHORIZED"


def test_functions_are_taken(steps: Steps) -> None:
    assert steps["functions"]["end"] == {"reason": "stop"}


@pytest.mark.parametrize("step", ["dispatch", "dispatch stateless"])
def test_a_dispatch_is_answered_with_its_channel(steps: Steps, step: str) -> None:
    assert list(steps[step]) == ["channelId"]
    assert len(steps[step]["channelId"]) >= 24


@pytest.mark.parametrize(
    "step,code,part",
    [
        ("fetch unknown", "NOT_FOUND", ""),
        ("send nothing", "BAD_REQUEST", "text"),
        ("unknown model", "BAD_REQUEST", "echo"),
        ("broken model", "BAD_GATEWAY", "broke off"),
        ("wrong secret", "NOT_AUTHENTICATED", ""),
        ("attachment upload", "NOT_IMPLEMENTED", ""),
    ],
)
def test_what_goes_wrong_is_raised_with_its_code(steps: Steps, step: str, code: str, part: str) -> None:
    found, message = failed(steps[step])
    assert found == code
    assert part in message


def test_what_goes_wrong_before_a_stream_is_raised_and_within_it_an_event(steps: Steps) -> None:
    (refused,) = steps["unknown model streamed"]
    assert failed(refused)[0] == "BAD_REQUEST"
    events = steps["broken model streamed"]
    assert events[-1]["type"] == "error"
    assert events[-1]["data"]["code"] == "BAD_GATEWAY"
    assert tokens(events) == "Half a"
