from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.channels.base import Lagging
from turnwise.server.channels.local import LocalChannels
from turnwise.server.errors import Unavailable
from turnwise.server.models.base import FunctionCall
from turnwise.server.services.caller import Caller, CallOutcome, numbered
from turnwise.server.services.channel_access import WaitingChannels
from turnwise.server.services.functions import FunctionSet, check_functions
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types._base import OMIT
from turnwise.types.event import Event, WaitForChannelMessageBeginEvent, WaitForChannelMessageEndEvent
from turnwise.types.function import FunctionDefinition, FunctionResult

ONE, TWO = "channel-number-one", "channel-number-two"
SCHEMA: dict[str, object] = {"type": "object", "properties": {"n": {"type": "integer"}}}


def defined(name: str, result: FunctionResult | None = None) -> FunctionDefinition:
    return FunctionDefinition(name=name, description="", parameters=SCHEMA, result=result)


FUNCTIONS = FunctionSet(
    [
        defined("static", FunctionResult(data={"price": 5})),
        defined("nothing", FunctionResult(data=None)),
        defined("one", FunctionResult(channel=ONE)),
        defined("again", FunctionResult(channel=ONE)),
        defined("two", FunctionResult(channel=TWO)),
        defined("ask"),
    ]
)


class FakeWaits:
    """Channels of which every listener hears only what is published while it listens."""

    def __init__(self) -> None:
        self._listening: dict[tuple[str, str], list[asyncio.Queue[object]]] = {}
        self.busy: Counter[str] = Counter()
        self.most = 0

    @asynccontextmanager
    async def wait_on(self, account_id: str, channel_id: str, /) -> AsyncGenerator[AsyncIterator[object]]:
        queue: asyncio.Queue[object] = asyncio.Queue()
        await asyncio.sleep(0)  # listening takes a moment
        listening = self._listening.setdefault((account_id, channel_id), [])
        listening.append(queue)
        self.busy[channel_id] += 1
        self.most = max(self.most, self.busy[channel_id])
        try:
            yield _messages(queue)
        finally:
            listening.remove(queue)
            self.busy[channel_id] -= 1

    @property
    def listeners(self) -> int:
        return sum(map(len, self._listening.values()))

    def publish(self, channel_id: str, message: object, account_id: str = "a") -> int:
        """Return how many heard it."""
        queues = self._listening.get((account_id, channel_id), [])
        for queue in queues:
            queue.put_nowait(message)
        return len(queues)


async def _messages(queue: asyncio.Queue[object]) -> AsyncGenerator[object]:
    while (message := await queue.get()) is not StopAsyncIteration:
        if isinstance(message, Exception):
            raise message
        yield message


async def no_dispatch(account_id: str, channel_id: str) -> str | None:
    return None


class Scene:
    """A caller, and a publisher that answers what it is told to answer."""

    def __init__(
        self, answer: Callable[[WaitForChannelMessageBeginEvent], object] | None = None, *, timeout: float = 10.0
    ) -> None:
        self.waits = FakeWaits()
        self.waiting = WaitingChannels(no_dispatch)
        clock = itertools.count(1).__next__
        self.caller = Caller(self.waits, clock=clock, timeout=timeout, waiting=self.waiting)
        self.events: list[Event] = []
        self._answer = answer

    def emit(self, events: Sequence[Event]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, WaitForChannelMessageBeginEvent) and self._answer is not None:
                assert self.waits.publish(event.data.channel, self._answer(event)) == 1

    async def call(self, *calls: tuple[str, str]) -> Sequence[CallOutcome]:
        made = [FunctionCall(id=f"id{number}", name=name, arguments=text) for number, (name, text) in enumerate(calls)]
        return await self.caller.call("a", made, FUNCTIONS, self.emit, conversation_id="c")

    @property
    def order(self) -> list[str]:
        """What was told, as `begin id` and `end id`."""
        lines: list[str] = []
        for event in self.events:
            match event:
                case WaitForChannelMessageBeginEvent():
                    lines.append(f"begin {event.data.id}")
                case WaitForChannelMessageEndEvent():
                    lines.append(f"end {event.data.id}")
                case _:
                    raise AssertionError(event)
        return lines


def results(outcomes: Sequence[CallOutcome]) -> list[object]:
    return [outcome.result for outcome in outcomes]


def test_the_functions_of_these_tests_could_be_a_requests() -> None:
    check_functions([function for name in ("static", "one", "ask") if (function := FUNCTIONS.get(name))])


async def test_static_results_are_there_at_once_and_nothing_is_told() -> None:
    scene = Scene()
    outcomes = await scene.call(("static", '{"n": 1}'), ("nothing", ""))
    assert results(outcomes) == [{"price": 5}, None]
    assert [outcome.arguments for outcome in outcomes] == [{"n": 1}, {}]
    assert not any(outcome.failed or outcome.unanswered for outcome in outcomes)
    assert scene.events == []


async def test_a_function_without_a_result_is_left_to_the_caller_of_the_api() -> None:
    (outcome,) = await Scene().call(("ask", '{"n": 1}'))
    assert outcome.unanswered
    assert not outcome.failed
    assert (outcome.call.name, outcome.arguments, outcome.result) == ("ask", {"n": 1}, OMIT)


async def test_no_calls_have_no_outcomes() -> None:
    assert await Scene().call() == []


@pytest.mark.parametrize(
    "name, text, recorded, error",
    [
        ("none", "{}", {}, "There is no function 'none'."),
        ("one", '{"n": "x"}', {"n": "x"}, "n: 'x' is not of type 'integer'"),
        ("one", '{"n":', '"{\\"n\\":"', "they are not JSON"),
        ("static", "[]", '"[]"', "a JSON object"),
    ],
)
async def test_what_cannot_be_called_is_told_the_model_and_nobody_else(
    name: str, text: str, recorded: object, error: str
) -> None:
    scene = Scene()
    (outcome,) = await scene.call((name, text))
    assert outcome.failed
    assert outcome.arguments == recorded
    assert error in str(outcome.result)
    assert scene.events == []


async def test_a_result_that_is_published_as_the_wait_is_told_is_not_missed() -> None:
    scene = Scene(lambda _: {"data": [21]})
    (outcome,) = await scene.call(("one", '{"n": 1}'))
    assert (outcome.result, outcome.arguments, outcome.failed) == ([21], {"n": 1}, False)
    begin, end = scene.events
    assert begin.to_dict() == {
        "type": "waitForChannelMessageBegin",
        "createdAt": 1,
        "data": {"channel": ONE, "function": {"name": "one", "args": {"n": 1}}, "id": "id0"},
    }
    assert end.to_dict() == {
        "type": "waitForChannelMessageEnd",
        "createdAt": 2,
        "data": {
            "channel": ONE,
            "function": {"name": "one", "args": {"n": 1}},
            "message": {"data": [21]},
            "id": "id0",
        },
    }
    assert scene.waits.listeners == 0


@pytest.mark.parametrize(
    "message, result",
    [
        ({"data": 5}, 5),
        ({"data": None}, None),
        ({"data": {"error": "mine"}}, {"error": "mine"}),
        ({"error": "boom"}, {"error": "boom"}),
        ({"data": None, "error": "boom"}, {"error": "boom"}),
        ({"data": 5, "error": None}, 5),
        ({"temperature": 21}, {"temperature": 21}),
        ({"id": "order-7", "total": 3}, {"id": "order-7", "total": 3}),
        ({}, {}),
        ("plain", "plain"),
        ({"data": 5, "id": "id0"}, 5),
    ],
)
async def test_results_are_read_in_every_form(message: object, result: object) -> None:
    (outcome,) = await Scene(lambda _: message).call(("one", "{}"))
    assert outcome.result == result
    assert not outcome.failed


async def test_an_answer_to_another_call_is_passed_over() -> None:
    scene = Scene()
    task = asyncio.create_task(scene.call(("one", "{}")))
    await until(lambda: scene.waits.listeners == 1)
    scene.waits.publish(ONE, {"data": "late", "id": "earlier"})
    scene.waits.publish(ONE, {"error": "late", "id": "earlier"})
    scene.waits.publish(ONE, {"data": "mine", "id": "id0"})
    assert results(await task) == ["mine"]


async def test_another_accounts_channel_of_the_same_id_is_not_heard() -> None:
    scene = Scene()
    task = asyncio.create_task(scene.call(("one", "{}")))
    await until(lambda: scene.waits.listeners == 1)
    assert scene.waits.publish(ONE, {"data": "foreign"}, account_id="b") == 0
    scene.waits.publish(ONE, {"data": "mine"})
    assert results(await task) == ["mine"]


async def test_calls_run_side_by_side_and_their_outcomes_keep_the_models_order() -> None:
    scene = Scene()
    task = asyncio.create_task(scene.call(("one", "{}"), ("static", "{}"), ("two", "{}"), ("ask", "{}")))
    await until(lambda: scene.waits.listeners == 2)
    scene.waits.publish(TWO, {"data": 2})
    await until(lambda: scene.waits.listeners == 1)
    scene.waits.publish(ONE, {"data": 1})
    assert results(await task) == [1, {"price": 5}, 2, OMIT]
    assert scene.order == ["begin id0", "begin id2", "end id2", "end id0"]


async def test_calls_that_share_a_channel_run_one_after_another() -> None:
    answers = iter(range(9))
    scene = Scene(lambda _: {"data": next(answers)})
    outcomes = await scene.call(("one", '{"n": 1}'), ("again", "{}"), ("one", '{"n": 2}'))
    assert results(outcomes) == [0, 1, 2]
    assert scene.order == ["begin id0", "end id0", "begin id1", "end id1", "begin id2", "end id2"]
    assert scene.waits.most == 1


async def test_a_function_that_does_not_answer_in_time_is_told_the_model_and_the_reader() -> None:
    scene = Scene(timeout=0.05)
    outcome, quick = await scene.call(("one", '{"n": 1}'), ("static", "{}"))
    assert outcome.failed
    assert outcome.result == {"error": "one did not answer within 0.05 s."}
    assert quick.result == {"price": 5}
    end = scene.events[-1]
    assert isinstance(end, WaitForChannelMessageEndEvent)
    assert end.data.message == outcome.result
    assert scene.waits.listeners == 0


async def test_every_call_on_a_shared_channel_has_the_whole_time() -> None:
    def late(event: WaitForChannelMessageBeginEvent) -> object:
        return {"data": "late", "id": "id0" if event.data.id == "id1" else "nobody"}

    scene = Scene(late, timeout=0.05)
    outcomes = await scene.call(("one", "{}"), ("one", "{}"))
    assert [outcome.failed for outcome in outcomes] == [True, True]
    assert scene.order == ["begin id0", "end id0", "begin id1", "end id1"]


async def test_a_flooded_channel_is_no_answer() -> None:
    (outcome,) = await Scene(lambda _: Lagging()).call(("one", "{}"))
    assert outcome.failed
    assert "More came on the channel of one" in str(outcome.result)


async def test_channels_that_close_are_no_answer_to_the_model() -> None:
    scene = Scene(lambda _: StopAsyncIteration)
    with pytest.raises(Unavailable, match="stopped waiting for the result of one"):
        await scene.call(("one", "{}"))
    assert scene.waits.listeners == 0


async def test_a_failure_ends_the_other_waits() -> None:
    scene = Scene()
    task = asyncio.create_task(scene.call(("one", "{}"), ("two", "{}")))
    await until(lambda: scene.waits.listeners == 2)
    scene.waits.publish(TWO, OSError("the disk is full"))
    with pytest.raises(OSError, match="full"):
        await task
    assert scene.waits.listeners == 0


async def test_cancelled_it_stops_to_listen() -> None:
    scene = Scene()
    task = asyncio.create_task(scene.call(("one", "{}"), ("two", "{}")))
    await until(lambda: scene.waits.listeners == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.waits.listeners == 0
    assert not await scene.waiting.may_publish("a", "c", ONE)


async def test_while_it_waits_the_conversations_tokens_may_publish_on_the_channel() -> None:
    scene = Scene()
    task = asyncio.create_task(scene.call(("one", "{}")))
    await until(lambda: bool(scene.events))
    assert await scene.waiting.may_publish("a", "c", ONE)
    assert not await scene.waiting.may_publish("a", "other", ONE)
    assert not await scene.waiting.may_publish("b", "c", ONE)
    assert not await scene.waiting.may_publish("a", "c", TWO)
    scene.waits.publish(ONE, {"data": 1})
    await task
    assert not await scene.waiting.may_publish("a", "c", ONE)


async def test_without_a_conversation_there_is_nobody_to_open_the_channel_to() -> None:
    scene = Scene(lambda _: {"data": 1})
    call = FunctionCall(id="id0", name="one", arguments="{}")
    (outcome,) = await scene.caller.call("a", [call], FUNCTIONS, scene.emit)
    assert outcome.result == 1


def test_calls_are_numbered_within_their_turn() -> None:
    calls = [FunctionCall(id="x", name=name, arguments="{}") for name in "fg"]
    assert [call.id for call in numbered(calls, "turn", 3)] == ["turn.4", "turn.5"]
    assert numbered(calls, "turn", 3) == numbered(calls, "turn", 3)


@given(st.lists(st.sampled_from(["static", "one", "again", "two", "ask", "none"]), max_size=12))
def test_whatever_is_called_every_outcome_is_its_calls(names: list[str]) -> None:
    async def run() -> None:
        scene = Scene(lambda event: {"data": event.data.id, "id": event.data.id})
        outcomes = await scene.call(*((name, "{}") for name in names))
        assert [outcome.call.name for outcome in outcomes] == names
        waited = [outcome for outcome in outcomes if outcome.call.name in {"one", "again", "two"}]
        assert all(outcome.result == outcome.call.id for outcome in waited)
        assert scene.waits.most <= 1
        assert len(scene.events) == 2 * len(waited)

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)


async def test_over_real_channels_only_what_is_published_after_the_wait_was_told_answers(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "turnwise.db")
    await storage.open()
    channels = LocalChannels(storage)
    await channels.open()
    publishing: list[asyncio.Task[int]] = []

    def answer(events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, WaitForChannelMessageBeginEvent):
                message = json.dumps({"data": event.data.id, "id": event.data.id}).encode()
                publishing.append(asyncio.create_task(channels.publish("a", event.data.channel, message)))

    await channels.publish("a", ONE, b'{"data": "too early"}')
    await channels.publish("b", ONE, b'{"data": "of another account"}')
    names = ["one", "two", "again", "one"]
    calls = [FunctionCall(id=f"id{number}", name=name, arguments="{}") for number, name in enumerate(names)]
    caller = Caller(channels, clock=itertools.count(1).__next__)
    async with asyncio.timeout(60):
        outcomes = await caller.call("a", calls, FUNCTIONS, answer)
    assert results(outcomes) == ["id0", "id1", "id2", "id3"]
    assert len(publishing) == 4
    assert channels.known == 0
    await channels.close()
    await storage.close()
