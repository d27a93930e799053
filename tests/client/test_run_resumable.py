"""Exchanges with functions that go on where they broke. The script plays the server, and breaks in every place."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from tests.client.drivers import Awaiting, Blocking, Driver
from tests.client.test_resume import MESSAGES, numbered, subscriptions
from tests.client.test_run import Scene, add, begin, end, gone
from tests.stalls import Stalls

from turnwise import ConnectError, ContentTooLargeError, StreamInterrupted
from turnwise.testing import JsonObject, Pause, event, reply
from turnwise.tools import ToolCallFailed, ToolCallStarted, tool
from turnwise.types.event import WaitForChannelMessageBeginEvent

pytestmark = pytest.mark.forgives_stalls

CHANNEL = "a-channel-of-24-characters"
ATTEMPT = event("attempt", {"attempt": 2})
AWAY: dict[str, Any] = {"status": 503, "json": {"message": "Later.", "code": "SERVICE_UNAVAILABLE"}}
FOR_LONG = {"retry-after": "30"}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(monkeypatch)
    scene.script.answer("POST", "*/dispatch", json={"channelId": CHANNEL}, times=None)
    return scene


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def scripted(request: pytest.FixtureRequest, scene: Scene) -> Generator[Driver]:
    driver = request.param(secret="s", http_client=scene.script, retries=0, retry_delay=0.001)
    yield driver
    driver.close()


def tells(scene: Scene, *parts: list[JsonObject | Pause]) -> None:
    """Let the server tell this, each part in a connection that is cut at its end, and then finish."""
    first = 1
    for place, part in enumerate(parts, 1):
        events: list[JsonObject | Pause] = [event("nop")]
        for each in [*part, *reply("Done.")] if place == len(parts) else part:
            events += [each] if isinstance(each, Pause) else numbered(each, first=first)
            first += not isinstance(each, Pause)
        scene.script.answer("POST", "*/subscribe", events=events, cut=place < len(parts))


def publishes(scene: Scene) -> None:
    """Let everything that is published from now on arrive."""
    scene.script.answer("POST", "*/publish", json={"id": "x"}, times=None)


def taken(number: int = 1) -> JsonObject:
    """The end of a wait that got its answer."""
    return end(number, id=f"k{number}", message={"data": 3, "id": f"k{number}"})


def nothing(_: Any) -> None:
    """Only listen."""


def run(driver: Driver, *tools: Any, see: Callable[[Any], None] = nothing) -> list[Any]:
    """Run to the end; return what is told of calls. `see` is shown every event as it comes."""

    def last(each: Any) -> bool:
        see(each)
        return bool(each.type == "result")

    events = driver.until(last, "run_stream", "c", text="Go.", tools=tools, resumable=True)
    assert events[-1].data.text == "Done."
    return [each for each in events if each.type.startswith("toolCall")]


class Counted:
    """A tool that counts its calls, and ends when it may."""

    def __init__(self, *, is_async: bool) -> None:
        self.calls = 0
        self.may_end = threading.Event()
        self.may_end.set()
        self.tool = tool(self.call_async if is_async else self.call, name="counted")

    def call(self) -> int:
        """Count."""
        self.calls += 1
        assert self.may_end.wait(60)
        return 3

    async def call_async(self) -> int:
        """Count."""
        return await asyncio.to_thread(self.call)


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def counted(request: pytest.FixtureRequest) -> Counted:
    return Counted(is_async=request.param)


ONCE = ["toolCallStarted", "toolCallFinished"]


def types(told: list[Any]) -> list[str]:
    return [each.type for each in told]


# The exchange.


def test_it_is_a_dispatch_and_a_subscription(scripted: Driver, scene: Scene) -> None:
    publishes(scene)
    for _ in range(3):
        tells(scene, [begin({"one": 1}, id="k1"), Pause(0.05), taken()])
    _, stream = scripted.stream("run_stream", "c", text="Go.", tools=[add], resumable=True)
    assert (stream.channel_id, stream.text, stream.result.text) == (CHANNEL, "Done.", "Done.")
    assert scripted.call("run", "c", {"text": "Go.", "tools": [add], "resumable": True}).text == "Done."
    assert scripted.call("run", None, messages=MESSAGES, tools=[add], resumable=True).text == "Done."
    paths = [each.path for each in scene.script.requests if not each.path.endswith(("/subscribe", "/publish"))]
    assert paths == ["/v1/conversation/c/dispatch"] * 2 + ["/v1/conversation/dispatch"]
    sent: Any = scene.script.requests[0].json
    assert sent.keys() == {"text", "functions", "channelId"}
    assert scene.published[0] == {"data": 3, "id": "k1"}


def test_a_function_runs_on_and_is_answered_while_the_subscription_is_away(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    counted.may_end.clear()
    publishes(scene)
    scene.script.answer("POST", "*/subscribe", events=numbered(begin(id="k1")), cut=True)
    scene.script.answer("POST", "*/subscribe", **AWAY, delay=0.15, times=3)
    tells(scene, [Pause(0.05), taken()])
    threading.Timer(0.05, counted.may_end.set).start()
    assert types(run(scripted, counted.tool)) == ONCE
    assert counted.calls == 1
    asked = [each.path.rpartition("/")[2] for each in scene.script.requests]
    assert asked.index("publish") < len(asked) - 1


def test_a_stream_that_gives_up_leaves_no_function_running(scripted: Driver, scene: Scene, counted: Counted) -> None:
    counted.may_end.clear()
    scene.script.answer("POST", "*/subscribe", events=numbered(begin(id="k1")), cut=True)
    scene.script.answer("POST", "*/subscribe", error=ConnectError("refused"), times=None)
    threading.Timer(0.2, counted.may_end.set).start()
    with pytest.raises(StreamInterrupted):
        scripted.stream("run_stream", "c", text="Go.", tools=[counted.tool], resumable=True, retries=1)
    assert counted.calls == 1
    assert scene.published == []


# Asked again.


def test_a_call_that_is_asked_for_again_while_it_runs_is_answered_once(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    counted.may_end.clear()
    asked: list[Any] = []

    def see(each: Any) -> None:
        if isinstance(each, WaitForChannelMessageBeginEvent):
            asked.append(each)
            if len(asked) == 2:
                counted.may_end.set()

    publishes(scene)
    tells(scene, [begin(id="k1")], [ATTEMPT, begin(id="k1"), Pause(0.3), taken()])
    assert types(run(scripted, counted.tool, see=see)) == ONCE
    assert (counted.calls, len(asked)) == (1, 2)
    assert scene.published == [{"data": 3, "id": "k1"}]
    assert subscriptions(scene.script) == [{"historyLength": 10_000}, {"after": 1}]


def test_a_call_that_is_asked_for_again_after_its_end_is_answered_again_and_not_made(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    publishes(scene)
    tells(scene, [begin(id="k1"), Pause(0.3)], [ATTEMPT, begin(id="k1"), Pause(0.3), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert counted.calls == 1
    assert scene.published == [{"data": 3, "id": "k1"}] * 2


def test_also_where_its_answer_had_arrived(scripted: Driver, scene: Scene, counted: Counted) -> None:
    publishes(scene)
    tells(scene, [begin(id="k1"), Pause(0.3), taken()], [ATTEMPT, begin(id="k1"), Pause(0.3), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert counted.calls == 1
    assert scene.published == [{"data": 3, "id": "k1"}] * 2


def test_a_call_that_is_asked_for_again_while_it_is_answered_is_answered_again(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    scene.script.answer("POST", "*/publish", json={"id": "x"}, delay=0.5)
    publishes(scene)
    tells(scene, [begin(id="k1"), Pause(0.2)], [ATTEMPT, begin(id="k1"), Pause(1), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert counted.calls == 1
    assert scene.published == [{"data": 3, "id": "k1"}] * 2


def test_two_calls_of_a_tool_are_two(scripted: Driver, scene: Scene, counted: Counted) -> None:
    publishes(scene)
    second = end(id="k2", message={"data": 3, "id": "k2"})
    tells(scene, [begin(id="k1"), Pause(0.2), taken(), begin(id="k2"), Pause(0.2), second])
    assert types(run(scripted, counted.tool)) == ONCE * 2
    assert counted.calls == 2


def test_a_call_that_was_missed_has_failed_also_where_it_is_asked_for_again(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    counted.may_end.clear()
    publishes(scene)
    again = end(id="k1", message={"error": "x", "id": "k1"})
    tells(scene, [begin(id="k1"), Pause(0.1), gone()], [ATTEMPT, begin(id="k1"), Pause(0.3), again])
    threading.Timer(0.3, counted.may_end.set).start()
    told = run(scripted, counted.tool)
    assert types(told) == ["toolCallStarted", "toolCallFailed"]
    assert counted.calls == 1
    assert scene.published == [{"error": told[1].message, "id": "k1"}]


def test_what_was_refused_is_not_sent_again_but_the_refusal_is(scripted: Driver, scene: Scene) -> None:
    scene.script.answer("POST", "*/publish", status=413, json={"message": "Too much.", "code": "CONTENT_TOO_LARGE"})
    publishes(scene)
    told = end(id="k1", message={"error": "x", "id": "k1"})
    tells(scene, [begin({"one": 1}, id="k1"), Pause(0.3), told], [ATTEMPT, begin(id="k1"), Pause(0.3), told])
    _, failed = run(scripted, add)
    assert isinstance(failed.error, ContentTooLargeError)
    assert scene.published == [{"data": 3, "id": "k1"}, *[{"error": failed.message, "id": "k1"}] * 2]


# A server that is away when the function ends.


def test_what_could_not_be_sent_is_sent_when_it_is_asked_for_again(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    scene.script.answer("POST", "*/publish", **AWAY, headers=FOR_LONG, times=2)
    publishes(scene)
    tells(scene, [begin(id="k1"), Pause(0.2)], [ATTEMPT, Pause(0.3), begin(id="k1"), Pause(0.3), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert counted.calls == 1
    assert scene.published == [{"data": 3, "id": "k1"}] * 3


def test_what_could_not_be_sent_is_sent_when_the_stream_has_connected_again(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    scene.script.answer("POST", "*/publish", **AWAY, headers=FOR_LONG)
    publishes(scene)
    tells(scene, [begin(id="k1"), Pause(0.2)], [Pause(0.3), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert scene.published == [{"data": 3, "id": "k1"}] * 2


@pytest.mark.parametrize(
    "problem",
    [
        {"error": ConnectError("refused")},
        AWAY,
        {"status": 403, "json": {"message": "Nobody waits.", "code": "NOT_AUTHORIZED"}},
    ],
    ids=["refused", "away", "not waiting yet"],
)
def test_what_could_not_be_sent_is_sent_a_little_later(
    scripted: Driver, scene: Scene, counted: Counted, problem: dict[str, Any]
) -> None:
    scene.script.answer("POST", "*/publish", **problem, times=2)
    publishes(scene)
    tells(scene, [begin(id="k1"), Pause(1), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert scene.published == [{"data": 3, "id": "k1"}] * 3


def test_an_answer_that_arrived_although_it_seemed_lost_is_not_sent_again(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    scene.script.answer("POST", "*/publish", **AWAY, headers=FOR_LONG)
    tells(scene, [begin(id="k1"), Pause(0.3), taken()])
    assert types(run(scripted, counted.tool)) == ONCE
    assert scene.published == [{"data": 3, "id": "k1"}]


def test_an_answer_that_never_arrived_has_failed(scripted: Driver, scene: Scene, counted: Counted) -> None:
    scene.script.answer("POST", "*/publish", **AWAY, headers=FOR_LONG)
    tells(scene, [begin(id="k1"), Pause(0.3), gone()])
    told = run(scripted, counted.tool)
    assert types(told) == ["toolCallStarted", "toolCallFailed"]
    assert told[1].message == "The server waited no longer: any did not answer within 1 s."


def test_leaving_early_gives_up_what_could_not_be_sent(scripted: Driver, scene: Scene, stalls: Stalls) -> None:
    scene.script.answer("POST", "*/publish", **AWAY, headers=FOR_LONG)
    tells(scene, [begin({"one": 1}, id="k1"), Pause(0.3), ATTEMPT])
    start = time.monotonic()
    scripted.until(lambda each: each.type == "attempt", "run_stream", "c", text="Go.", tools=[add], resumable=True)
    assert time.monotonic() - start < 5 + stalls.allowance
    time.sleep(0.05)
    assert [each for each in threading.enumerate() if each.name.startswith("answer of")] == []
    assert scene.published == [{"data": 3, "id": "k1"}]


def test_leaving_early_waits_for_the_function_and_leaves_the_work_alone(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    counted.may_end.clear()
    tells(scene, [begin(id="k1"), Pause(0.05)])
    threading.Timer(0.2, counted.may_end.set).start()
    scripted.until(
        lambda each: isinstance(each, ToolCallStarted),
        "run_stream",
        "c",
        text="Go.",
        tools=[counted.tool],
        resumable=True,
    )
    assert scene.published == []
    assert len(scene.script.requests) == 2


# A server without ids and numbers.


def bare(*events: JsonObject | Pause) -> list[JsonObject | Pause]:
    return [each if isinstance(each, Pause) else event("message", each) for each in events]


def test_without_numbers_a_call_that_is_heard_of_again_is_the_same(
    scripted: Driver, scene: Scene, counted: Counted
) -> None:
    publishes(scene)
    scene.script.answer("POST", "*/subscribe", events=bare(begin(), Pause(0.3)), cut=True)
    scene.script.answer("POST", "*/subscribe", events=bare(begin(), end(), *reply("Done.")))
    assert types(run(scripted, counted.tool)) == ONCE
    assert counted.calls == 1
    assert scene.published == [{"data": 3}]


def test_an_answer_without_an_id_is_sent_once_since_it_might_be_taken_for_another(
    scripted: Driver, scene: Scene
) -> None:
    scene.script.answer("POST", "*/publish", error=ConnectError("refused"))
    scene.script.answer("POST", "*/subscribe", events=bare(begin({"one": 1}), Pause(0.3)), cut=True)
    scene.script.answer("POST", "*/subscribe", events=bare(begin({"one": 1}), end(), *reply("Done.")))
    _, failed = run(scripted, add)
    assert isinstance(failed, ToolCallFailed)
    assert isinstance(failed.error, ConnectError)
    assert scene.published == [{"data": 3}]
