"""An agent on the official Node client does its work with our server and an OpenAI-compatible model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from tests.cluster.cast import forecast
from tests.deployed import DEPLOYED, serving
from tests.node.driving import drive
from tests.server.models.upstream import FakeUpstream, Request, Step, reply

from turnwise.server.settings import Settings

WAYS = ("complete", "complete stateless", "dispatch", "dispatch stateless")
SAID = "39.2 in Oslo, and Rome is warmer."


class Forecaster(FakeUpstream):
    """Does as `forecast` says."""

    def answer(self, request: Request) -> Sequence[Step]:
        if request.method != "POST":
            return super().answer(request)
        self.requests.append(request)
        return forecast(tool_results(request.json()))


def tool_results(request: Mapping[str, object]) -> list[object]:
    """Return the results that came since the user spoke last."""
    messages = cast("list[dict[str, Any]]", request["messages"])
    last = max(index for index, message in enumerate(messages) if message["role"] == "user")
    return [json.loads(message["content"]) for message in messages[last:] if message["role"] == "tool"]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the agent did, and what the model was asked."""
    if DEPLOYED is not None:
        with serving(Settings()) as server:
            return drive("agent.mjs", server, survived=undisturbed)
    return asyncio.run(driven_here(f"sqlite:///{tmp_path_factory.mktemp('agent') / 'turnwise.db'}"))


async def driven_here(database_url: str) -> dict[str, Any]:
    async with Forecaster(reply("")) as upstream:
        settings = Settings(
            database_url=database_url, openai_base_url=upstream.base_url, model="m", models=("m",), grace=1
        )
        done = await asyncio.to_thread(run_agent, settings)
        return {**done, "requests": [request.json() for request in upstream.requests]}


def run_agent(settings: Settings) -> dict[str, Any]:
    with serving(settings) as server:
        return drive("agent.mjs", server, survived=undisturbed)


def undisturbed(done: Mapping[str, Any]) -> bool:
    """Tell whether no turn was taken over by another server; one that was gives the same result all the same."""
    for way in WAYS:
        assert done[way]["result"]["text"] == done[way]["text"] == SAID
    return not any(done[way]["attempts"] for way in WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_the_agent_answers_two_tools_one_of_them_again(driven: dict[str, Any], way: str) -> None:
    assert driven[way]["called"] == [
        ["weather", {"city": "Oslo"}],
        ["weather", {"city": "Rome"}],
        ["weather", {"city": "Atlantis"}],
        ["convert", {"celsius": 4}],
    ]


@pytest.mark.parametrize("way", WAYS)
def test_the_agent_gets_its_result(driven: dict[str, Any], way: str) -> None:
    done = driven[way]
    assert done["result"]["text"] == done["text"] == SAID
    assert done["result"]["end"] == {"reason": "stop"}
    assert ("id" in done["result"]) == ("stateless" not in way)
    wait = ["waitForChannelMessageBegin", "waitForChannelMessageEnd"]
    assert done["types"] == [
        *("sendResult", "completeBegin", "token", "message", "usage", *wait, *wait, *wait, "message"),
        *("usage", *wait, "message", "token", "message", "usage", "completeEnd", "receiveResult", "result"),
    ]


def test_the_model_gets_every_result_in_order(driven: dict[str, Any]) -> None:
    requests = cast("list[dict[str, object]]", driven["requests"])
    assert len(requests) == 3 * len(WAYS)
    weather: list[object] = [
        {"city": "Oslo", "celsius": 4},
        {"city": "Rome", "celsius": 21},
        {"error": "there is no Atlantis"},
    ]
    for first, second, third in zip(requests[::3], requests[1::3], requests[2::3], strict=True):
        assert tool_results(first) == []
        assert tool_results(second) == weather
        assert tool_results(third) == [*weather, {"fahrenheit": pytest.approx(39.2)}]


def test_messages_come_in_order_from_the_first_one_kept_to_those_that_are_published_meanwhile(
    driven: dict[str, Any],
) -> None:
    assert driven["talk"] == [{"number": 1, "text": "Grüße 😀 \u2028"}, {"number": 2}, {"number": 3}]
