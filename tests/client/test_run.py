"""Exchanges in which the bot calls Python functions. A model that calls what its script says plays the other side."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

import msgspec
import pytest
from tests.client.drivers import Awaiting, Blocking, Driver
from tests.deployed import serving
from tests.stalls import Stalls

from turnwise import AsyncTurnwise, ConnectError, ContentTooLargeError, PermissionDeniedError, Turnwise
from turnwise._attend import Thread
from turnwise._calls import Pending
from turnwise.server.embed import EmbeddedServer
from turnwise.server.models.base import (
    Delta,
    Finish,
    FunctionAnswer,
    FunctionCall,
    ModelConfig,
    Prompt,
    ResolvedModel,
    TextDelta,
)
from turnwise.server.models.registry import ModelRegistry
from turnwise.server.settings import Settings
from turnwise.testing import JsonObject, Pause, ScriptedTransport, event, reply
from turnwise.tools import ToolCallFailed, ToolCallFinished, ToolCallStarted, tool

CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("CALLER", default="nobody")


class CallingModel:
    """Calls what the last user message says, JSON of [[name, arguments], ...], and then tells the results."""

    name = "calling"
    context_window = 100_000

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Sequence[Delta], None]:
        place = max(number for number, each in enumerate(prompt.messages) if each.type == "user")
        activities = [each.activity for each in prompt.messages[place:]]
        results = [each.result for each in activities if isinstance(each, FunctionAnswer)]
        if results:
            yield [TextDelta(" ".join(results)), Finish(reason="stop", input_tokens=1, output_tokens=1)]
            return
        calls = msgspec.json.decode(prompt.messages[place].text, type=list[tuple[str, dict[str, object]]])
        yield [
            *(
                FunctionCall(f"call{number:05d}", name, msgspec.json.encode(arguments).decode())
                for number, (name, arguments) in enumerate(calls)
            ),
            Finish(reason="calls", input_tokens=1, output_tokens=1),
        ]


class CallingModels(ModelRegistry):
    @property
    def default(self) -> str:
        return "calling"

    async def resolve(self, model: str | None) -> ResolvedModel:
        return ResolvedModel(CallingModel(), ModelConfig())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[EmbeddedServer]:
    database = tmp_path_factory.mktemp("server") / "turnwise.db"
    with serving(Settings(database_url=f"sqlite:///{database}", grace=1), CallingModels()) as server:
        yield server


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def api(request: pytest.FixtureRequest, server: EmbeddedServer) -> Generator[Driver]:
    driver = request.param(base_url=server.url, secret=server.secret)
    yield driver
    driver.close()


def asking(*calls: tuple[str, dict[str, object]]) -> str:
    return msgspec.json.encode(calls).decode()


def messages(*calls: tuple[str, dict[str, object]]) -> list[JsonObject]:
    return [{"type": "user", "text": asking(*calls)}]


def add(one: int, two: int = 2) -> int:
    """Add."""
    return one + two


async def double(value: int) -> dict[str, object]:
    """Double."""
    await asyncio.sleep(0.01)
    return {"doubled": 2 * value}


def broken(value: int) -> None:
    """Break."""
    raise ValueError(f"{value} is too much")


# Against the server.


def test_a_task_with_two_tools_is_finished(api: Driver) -> None:
    conversation = api.call("create").id
    text = asking(("add", {"one": 1}), ("double", {"value": 4}), ("add", {"one": 5, "two": 6}))
    result = api.call("run", conversation, text=text, tools=[add, double])
    assert result.text == '3 {"doubled":8} 11'
    assert result.end.reason == "stop"
    assert [message.type for message in api.items("message.list", conversation)].count("activity") == 6


def test_a_task_without_a_conversation_is_finished(api: Driver) -> None:
    result = api.call("run", None, messages=messages(("add", {"one": 1})), tools=[tool(add)])
    assert result.text == "3"


def test_a_resumable_task_with_two_tools_is_finished(api: Driver) -> None:
    conversation = api.call("create").id
    calls: list[tuple[str, dict[str, object]]] = [("add", {"one": 1}), ("double", {"value": 4}), ("add", {"one": 5})]
    result = api.call("run", conversation, text=asking(*calls), tools=[add, double], resumable=True)
    assert result.text == '3 {"doubled":8} 7'
    assert [message.type for message in api.items("message.list", conversation)].count("activity") == 6
    assert api.call("run", None, messages=messages(*calls), tools=[add, double], resumable=True).text == result.text


def test_a_session_s_token_lets_a_resumable_task_run(api: Driver) -> None:
    conversation = api.call("create").id
    page = api.with_options(secret=api.call("session.create", conversation).token)
    result = page.call("run", conversation, text=asking(("add", {"one": 1})), tools=[add], resumable=True)
    assert result.text == "3"


def test_calls_are_told_among_the_other_events(api: Driver) -> None:
    calls = messages(("add", {"one": 1}), ("broken", {"value": 2}))
    events, stream = api.stream("run_stream", None, messages=calls, tools=[add, broken])
    mine = [each for each in events if each.type.startswith(("toolCall", "waitFor"))]
    for name, last in (("add", ToolCallFinished), ("broken", ToolCallFailed)):
        own = [each for each in mine if name in (getattr(each, "name", None), named(each))]
        types = ["waitForChannelMessageBegin", "toolCallStarted", last.type, "waitForChannelMessageEnd"]
        assert [each.type for each in own] == types
        assert own[0].data.id == own[1].id == own[2].id
    finished = next(each for each in mine if isinstance(each, ToolCallFinished))
    assert (finished.name, finished.arguments, finished.result) == ("add", {"one": 1}, 3)
    failed = next(each for each in mine if isinstance(each, ToolCallFailed))
    assert isinstance(failed.error, ValueError)
    assert failed.message == "ValueError: 2 is too much"
    assert stream.text == stream.result.text == '3 {"error":"ValueError: 2 is too much"}'


def named(each: Any) -> object:
    return each.data.function["name"] if hasattr(each, "data") else None


def test_calls_of_several_tools_run_side_by_side(api: Driver) -> None:
    both = threading.Barrier(2, timeout=60)

    def first() -> str:
        """Meet."""
        both.wait()
        return "met"

    async def second() -> str:
        """Meet."""
        await asyncio.to_thread(both.wait)
        return "met"

    result = api.call("run", None, messages=messages(("first", {}), ("second", {})), tools=[first, second])
    assert result.text.replace('"', "") == "met met"


def test_functions_beside_the_tools_are_answered_elsewhere(api: Driver) -> None:
    fixed: JsonObject = {
        "name": "fixed",
        "description": "Fixed.",
        "parameters": {"type": "object"},
        "result": {"data": "known"},
    }
    calls = messages(("fixed", {}), ("add", {"one": 1}))
    result = api.call("run", None, messages=calls, tools=[add], functions=[fixed])
    assert result.text.replace('"', "") == "known 3"


def test_what_a_tool_gives_travels_as_json(api: Driver) -> None:
    def day() -> object:
        """Tell the day."""
        return {"day": date(2026, 11, 22), "nothing": None, "set": (1, 2)}

    result = api.call("run", None, messages=messages(("day", {})), tools=[day])
    assert msgspec.json.decode(result.text) == {"day": "2026-11-22", "nothing": None, "set": [1, 2]}


# With a script in the server's place, where the server would not do it.


class Scene:
    """A scripted server whose channels are known before they are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script = ScriptedTransport()
        self.made = 0
        monkeypatch.setattr("turnwise.tools.os.urandom", self._next)

    def _next(self, size: int) -> bytes:
        self.made += 1
        return self.made.to_bytes(size, "big")

    def completes(self, *events: JsonObject | Pause) -> None:
        self.script.answer("POST", "*/complete", events=[*events, *reply("Done.")])
        self.script.answer("POST", "*/publish", json={"id": "x"}, times=None)

    @property
    def published(self) -> list[Any]:
        sent: list[Any] = [each.json for each in self.script.requests if each.path.endswith("/publish")]
        return [each["message"] for each in sent]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def scripted(request: pytest.FixtureRequest, scene: Scene) -> Generator[Driver]:
    driver = request.param(secret="s", http_client=scene.script, retries=0)
    yield driver
    driver.close()


def channel(number: int = 1) -> str:
    return number.to_bytes(16, "big").hex()


def begin(arguments: object = None, number: int = 1, **more: object) -> JsonObject:
    function: JsonObject = {"name": "any", "args": arguments or {}}
    return event("waitForChannelMessageBegin", {"channel": channel(number), "function": function, **more})


def end(number: int = 1, **more: object) -> JsonObject:
    return event("waitForChannelMessageEnd", {"channel": channel(number), **more})


def run(driver: Driver, *tools: Any, **more: Any) -> list[Any]:
    events, stream = driver.stream("run_stream", "c", text="Go.", tools=tools, **more)
    assert stream.result.text == "Done."
    return [each for each in events if each.type.startswith("toolCall")]


def test_a_result_carries_the_id_of_its_call(scripted: Driver, scene: Scene) -> None:
    scene.completes(begin({"one": 1}, id="k1"), end())
    started, finished = run(scripted, add)
    assert isinstance(started, ToolCallStarted)
    assert (started.id, started.name, started.arguments) == ("k1", "add", {"one": 1})
    assert (finished.id, finished.result) == ("k1", 3)
    assert scene.published == [{"data": 3, "id": "k1"}]
    asked: Any = scene.script.requests[0].json
    assert asked["functions"][0]["result"] == {"channel": channel()}


def test_headers_of_the_call_travel_with_its_answers_but_not_its_key(scripted: Driver, scene: Scene) -> None:
    scene.completes(begin({"one": 1}), end())
    run(scripted, add, extra_headers={"X-Way": "through", "Idempotency-Key": "k"})
    asked, answered = scene.script.requests
    assert asked.headers["x-way"] == answered.headers["x-way"] == "through"
    assert asked.headers["idempotency-key"] == "k" != answered.headers["idempotency-key"]


def test_a_call_without_an_id_gets_a_result_without_one(scripted: Driver, scene: Scene) -> None:
    scene.completes(begin({"one": 1}), end())
    assert run(scripted, add)[0].id is None
    assert scene.published == [{"data": 3}]


def test_arguments_may_be_missing(scripted: Driver, scene: Scene) -> None:
    scene.completes(event("waitForChannelMessageBegin", {"channel": channel()}), end())
    failed = run(scripted, add)[1]
    assert failed.message == "The arguments do not fit: Object missing required field `one`"
    assert scene.published == [{"error": failed.message}]


def test_a_wait_on_a_channel_of_somebody_else_is_left_to_them(scripted: Driver, scene: Scene) -> None:
    scene.completes(begin({"one": 1}, number=77), end(77))
    assert run(scripted, add) == []
    assert scene.published == []


@pytest.mark.parametrize(
    "raised, told",
    [
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError"),
        (TimeoutError(), "TimeoutError"),
        (TimeoutError("The database is slow"), "The database is slow"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError("no"), "CancelledError: no"),
        (ValueError("half a character: \ud800"), "ValueError: half a character: ?"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_a_tool_raises_is_told_and_ends_nothing(
    scripted: Driver, scene: Scene, raised: BaseException, told: str, *, is_async: bool
) -> None:
    def plain() -> None:
        """Raise."""
        raise raised

    async def awaited() -> None:
        """Raise."""
        raise raised

    scene.completes(begin(), end())
    _, failed = run(scripted, awaited if is_async else plain)
    assert (failed.message, failed.error) == (told, raised)
    assert scene.published == [{"error": told}]


def test_a_result_that_json_cannot_hold_is_an_error(scripted: Driver, scene: Scene) -> None:
    def plain() -> object:
        """Give something strange."""
        return object()

    async def awaited() -> object:
        """Give something strange."""
        return object()

    scene.completes(begin(), end(), begin(number=2), end(2))
    failures = [each for each in run(scripted, plain, awaited) if isinstance(each, ToolCallFailed)]
    assert [each.message for each in failures] == ["TypeError: Encoding objects of type object is unsupported"] * 2


def test_a_call_that_takes_too_long_is_told_so(scripted: Driver, scene: Scene) -> None:
    over = threading.Event()
    cancelled = threading.Event()

    def hangs() -> None:
        """Hang."""
        over.wait(5)

    @tool(timeout=0.05)
    async def sleeps() -> None:
        """Sleep."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    scene.completes(begin(), begin(number=2), Pause(2), end(), end(2))
    failures = [each for each in run(scripted, hangs, sleeps, tool_timeout=0.1) if isinstance(each, ToolCallFailed)]
    assert {each.name: each.message for each in failures} == {
        "hangs": "The function did not finish within 0.1 s",
        "sleeps": "The function did not finish within 0.05 s",
    }
    assert all(isinstance(each.error, TimeoutError) for each in failures)
    assert cancelled.wait(60)
    over.set()


def test_without_a_time_limit_a_call_takes_as_long_as_it_takes(scripted: Driver, scene: Scene) -> None:
    scene.completes(begin({"value": 1}), end(), begin({"one": 1}, number=2), end(2))
    assert [each.type for each in run(scripted, double, add, tool_timeout=None)].count("toolCallFinished") == 2


def test_a_result_that_cannot_be_sent_is_told_to_the_caller(scripted: Driver, scene: Scene) -> None:
    scene.script.answer("POST", "*/publish", error=ConnectError("refused"))
    scene.completes(begin({"one": 1}), end())
    _, failed = run(scripted, add)
    assert isinstance(failed.error, ConnectError)


def test_of_a_result_that_the_server_refuses_the_server_is_told_at_once(scripted: Driver, scene: Scene) -> None:
    scene.script.answer("POST", "*/publish", status=413, json={"message": "Too much.", "code": "CONTENT_TOO_LARGE"})
    scene.completes(begin({"one": 1}, id="k1"), Pause(0.1), end(id="k1", message={"id": "k1", "error": "x"}))
    _, failed = run(scripted, add)
    assert isinstance(failed.error, ContentTooLargeError)
    assert scene.published == [{"data": 3, "id": "k1"}, {"error": failed.message, "id": "k1"}]
    assert failed.message.startswith("ContentTooLargeError: Too much.")


def test_a_server_that_refuses_the_refusal_too_is_left_alone(scripted: Driver, scene: Scene) -> None:
    scene.script.answer("POST", "*/publish", status=403, json={"message": "No.", "code": "NOT_AUTHORIZED"}, times=2)
    scene.completes(begin({"one": 1}), Pause(0.1), end())
    _, failed = run(scripted, add)
    assert isinstance(failed.error, PermissionDeniedError)
    assert len(scene.published) == 2


def gone(number: int = 1) -> JsonObject:
    """The end of a wait that got no answer."""
    return end(number, id=f"k{number}", message={"error": "any did not answer within 1 s."})


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_a_call_that_the_server_waits_for_no_longer_has_failed(
    scripted: Driver, scene: Scene, stalls: Stalls, *, is_stubborn: bool
) -> None:
    over, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        """Hang."""
        over.wait(30)

    async def sleeps() -> None:
        """Sleep."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.set()
            if not is_stubborn:
                raise

    scene.completes(begin(id="k1"), begin(number=2, id="k2"), Pause(0.1), gone(), gone(2))
    start = time.monotonic()
    told = run(scripted, hangs, sleeps, tool_timeout=None)
    assert time.monotonic() - start < 4 + stalls.allowance
    assert [each.type for each in told] == ["toolCallStarted"] * 2 + ["toolCallFailed"] * 2
    assert {each.message for each in told[2:]} == {"The server waited no longer: any did not answer within 1 s."}
    assert ended.wait(5)
    assert scene.published == []
    over.set()


async def test_a_call_that_nobody_waits_for_may_take_its_time_to_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnwise._run.GRACE", 0.01)
    ended: list[str] = []

    async def sleeps() -> None:
        """Sleep."""
        try:
            await asyncio.sleep(30)
        finally:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.2)
            ended.append("ended")

    scene.completes(begin(id="k1"), Pause(0.1), gone())
    async with AsyncTurnwise(secret="s", http_client=scene.script) as client:
        await client.conversation.run("c", text="Go.", tools=[sleeps])
    assert ended == ["ended"]


def test_news_that_come_later_than_they_are_waited_for_are_told_later(
    scripted: Driver, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnwise._run.GRACE", 0.01)
    scene.script.answer("POST", "*/publish", json={"id": "x"}, delay=0.4)
    scene.completes(begin({"one": 1}, id="k1"), Pause(0.2), end(id="k1", message={"data": 3, "id": "k1"}), Pause(1))
    assert [each.type for each in run(scripted, add)] == ["toolCallStarted", "toolCallFinished"]


def test_a_result_that_comes_too_late_is_no_success(scripted: Driver, scene: Scene) -> None:
    scene.script.answer("POST", "*/publish", json={"id": "x"}, delay=2)
    scene.completes(begin({"one": 1}, id="k1"), Pause(0.1), end(id="k1", message="something else"))
    _, failed = run(scripted, add)
    assert failed.message == "The server waited no longer: another message came"


def test_the_end_of_another_call_on_the_channel_is_not_this_ones(scripted: Driver, scene: Scene) -> None:
    scene.completes(begin({"one": 1}, id="k2"), gone(), Pause(0.1), end(id="k2", message={"data": 3, "id": "k2"}))
    assert [each.type for each in run(scripted, add)] == ["toolCallStarted", "toolCallFinished"]


def test_a_function_that_turns_out_to_be_async_is_awaited(scripted: Driver, scene: Scene) -> None:
    def indirect() -> object:
        """Give something to await."""
        return double(4)

    scene.completes(begin(), end())
    assert run(scripted, indirect)[1].result == {"doubled": 8}


def who() -> str:
    """Tell the caller."""
    return CALLER.get()


async def who_async() -> str:
    """Tell the caller."""
    return CALLER.get()


def test_a_tool_sees_the_context_of_its_caller(scene: Scene) -> None:
    scene.completes(begin(), end(), begin(number=2), end(2))
    before = CALLER.set("me")
    with Turnwise(secret="s", http_client=scene.script) as client:
        client.conversation.run("c", text="Go.", tools=[who, who_async])
    CALLER.reset(before)
    assert scene.published == [{"data": "me"}, {"data": "me"}]


async def test_a_tool_sees_the_context_of_the_task_that_calls_it(scene: Scene) -> None:
    scene.completes(begin(), end(), begin(number=2), end(2))
    CALLER.set("my task")
    async with AsyncTurnwise(secret="s", http_client=scene.script) as client:
        await client.conversation.run("c", text="Go.", tools=[who, who_async])
    assert scene.published == [{"data": "my task"}, {"data": "my task"}]


def test_a_bad_tool_is_refused_before_anything_is_sent(scripted: Driver, scene: Scene) -> None:
    with pytest.raises(ValueError, match="two functions called 'add'"):
        scripted.call("run", "c", text="Go.", tools=[add, add])
    assert scene.script.requests == []


def test_a_stream_that_never_starts_asks_nothing(scene: Scene) -> None:
    with Turnwise(secret="s", http_client=scene.script) as client:
        client.conversation.run_stream("c", text="Go.", tools=[add]).close()
    assert scene.script.requests == []


# Leaving early.


def leave_at_the_call(
    driver: Driver, begun: threading.Event, *tools: Any, leaving: threading.Event | None = None
) -> None:
    """Leave the stream once its first call has begun; `leaving` is set then."""
    leaving = leaving or threading.Event()
    stream = driver.method("run_stream")("c", text="Go.", tools=tools)
    if isinstance(driver, Blocking):
        with stream:
            for each in stream:
                if isinstance(each, ToolCallStarted):
                    assert begun.wait(60)
                    leaving.set()
                    break
        return

    async def leave() -> None:
        async with stream:
            async for each in stream:
                if isinstance(each, ToolCallStarted):
                    assert await asyncio.to_thread(begun.wait, 60)
                    leaving.set()
                    break

    driver._run(leave)


def test_leaving_early_waits_for_a_function_and_publishes_nothing(scripted: Driver, scene: Scene) -> None:
    begun, leaving = threading.Event(), threading.Event()
    ended: list[str] = []

    def slow() -> None:
        """Take a while."""
        begun.set()
        assert leaving.wait(60)
        time.sleep(0.2)
        ended.append("ended")

    scene.completes(begin(), Pause(0.01))
    leave_at_the_call(scripted, begun, slow, leaving=leaving)
    assert ended == ["ended"]
    assert scene.published == []


def test_leaving_early_cancels_what_awaits(scripted: Driver, scene: Scene, stalls: Stalls) -> None:
    begun = threading.Event()
    ended: list[str] = []

    async def sleeps() -> None:
        """Sleep."""
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("ended")

    scene.completes(begin(), Pause(0.01))
    start = time.monotonic()
    leave_at_the_call(scripted, begun, sleeps)
    assert time.monotonic() - start < 5 + stalls.allowance
    assert ended == ["ended"]
    assert scene.published == []


def test_a_call_that_is_cancelled_before_it_awaits_ends_all_the_same() -> None:
    gate = threading.Event()

    def late() -> object:
        """Await something, later."""
        gate.wait(5)
        return asyncio.sleep(30)

    thread = Thread(Pending(tool(late), channel(), {}, None, None))
    thread.cancel()
    gate.set()
    assert isinstance(thread.outcome.result(5), asyncio.CancelledError)


def test_a_hanging_function_holds_up_nobody_longer_than_its_time(
    scripted: Driver, scene: Scene, stalls: Stalls
) -> None:
    begun, over = threading.Event(), threading.Event()

    @tool(timeout=0.1)
    def hangs() -> None:
        """Hang."""
        begun.set()
        over.wait(30)

    scene.completes(begin(), Pause(0.01))
    start = time.monotonic()
    leave_at_the_call(scripted, begun, hangs)
    assert time.monotonic() - start < 5 + stalls.allowance
    over.set()


def test_leaving_early_does_not_wait_for_an_answer_on_its_way(scripted: Driver, scene: Scene, stalls: Stalls) -> None:
    begun = threading.Event()

    def quick() -> None:
        """Be quick."""
        begun.set()

    scene.script.answer("POST", "*/publish", json={"id": "x"}, delay=10)
    scene.completes(begin(), Pause(0.01))
    start = time.monotonic()
    leave_at_the_call(scripted, begun, quick)
    assert time.monotonic() - start < 5 + stalls.allowance


async def test_cancelling_a_run_cancels_its_tools(scene: Scene) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def sleeps() -> None:
        """Sleep."""
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    scene.completes(begin(), Pause(30))
    async with AsyncTurnwise(secret="s", http_client=scene.script) as client:
        running = asyncio.create_task(client.conversation.run("c", text="Go.", tools=[sleeps]))
        await asyncio.wait_for(begun.wait(), 60)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert ended.is_set()
    assert scene.published == []


async def test_a_function_without_a_time_limit_is_waited_for(scene: Scene) -> None:
    ended: list[str] = []

    def slow() -> None:
        """Take a while."""
        time.sleep(0.1)
        ended.append("ended")

    scene.completes(begin(), Pause(30))
    async with (
        AsyncTurnwise(secret="s", http_client=scene.script) as client,
        client.conversation.run_stream("c", text="Go.", tools=[slow], tool_timeout=None) as stream,
    ):
        async for each in stream:
            if isinstance(each, ToolCallStarted):
                await asyncio.sleep(0.02)
                break
    assert ended == ["ended"]
