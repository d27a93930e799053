"""Turns with functions, over the real storage and channels, with models that do as they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.server.asgi import EVENTS, Api, Reply, ScriptedModels
from tests.stalls import Stalls

from turnwise.server.app import Adapters, create_app
from turnwise.server.errors import Unavailable
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
from turnwise.server.settings import Settings
from turnwise.server.storage.open import storage_at

CHANNEL = "channel-of-sixteen-or-more"
PARAMETERS: Mapping[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


def call(name: str, *, city: object = "Rome", number: int = 1) -> FunctionCall:
    return FunctionCall(f"call{number}", name, json.dumps({"city": city}))


def finish(reason: str = "stop") -> Finish:
    return Finish(
        reason="calls" if reason == "calls" else "length" if reason == "length" else "stop",
        input_tokens=5,
        output_tokens=2,
    )


class PlannedModel:
    """Answers each prompt with the next plan, the last one for ever."""

    name = "planned"
    context_window = 8000

    def __init__(self) -> None:
        self.plans: list[Sequence[Delta]] = []
        self.prompts: list[Prompt] = []

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        self.prompts.append(prompt)
        plan = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
        await asyncio.sleep(0)
        yield plan

    def answers(self, number: int) -> list[object]:
        """Return the results of functions that a prompt shows."""
        shown = [message.activity for message in self.prompts[number].messages]
        return [json.loads(each.result) for each in shown if isinstance(each, FunctionAnswer)]


class PlannedModels(ScriptedModels):
    def __init__(self) -> None:
        super().__init__()
        self.planned = PlannedModel()

    async def resolve(self, model: str | None) -> ResolvedModel:
        return ResolvedModel(self.planned, ModelConfig())


class Scene:
    def __init__(self, api: Api, model: PlannedModel) -> None:
        self.api = api
        self.model = model

    async def complete(self, conversation: str | None, body: Mapping[str, object]) -> Reply:
        path = f"/conversation/{conversation}/complete" if conversation else "/conversation/complete"
        return await self.api.post(path, body, accept="application/jsonl")

    async def activities(self, conversation: str) -> list[object]:
        items = (await self.api.get(f"/conversation/{conversation}/message/list")).items
        return [item["meta"]["activity"] for item in items if item["type"] == "activity"]  # type: ignore[index]


@pytest.fixture
def function_timeout() -> float:
    """Seconds in which a function is to answer."""
    return 60


@pytest.fixture
async def scene(tmp_path: Path, function_timeout: float) -> AsyncGenerator[Scene, None]:
    models = PlannedModels()
    storage = storage_at(f"sqlite:///{tmp_path}/engine.db")
    settings = Settings(grace=0.2, function_timeout=function_timeout)
    application = create_app(settings, Adapters(storage=storage, models=models, guest_secret="engine-secret"))
    await application.open()
    yield Scene(Api(application, "engine-secret", models), models.planned)
    await application.close()


def function(name: str, result: object = None, **more: object) -> dict[str, object]:
    definition: dict[str, object] = {"name": name, "description": name, "parameters": PARAMETERS, **more}
    if result is not None:
        definition["result"] = result
    return definition


WEATHER = function("weather", {"data": {"sky": "blue"}})


@pytest.mark.parametrize("stateful", [True, False])
async def test_a_static_result_goes_back_to_the_model(scene: Scene, stateful: bool) -> None:
    scene.model.plans = [
        [TextDelta("Let me look."), call("weather"), finish("calls")],
        [TextDelta("Blue."), finish()],
    ]
    conversation = await scene.api.conversation() if stateful else None
    asked: dict[str, object] = {"text": "Sky?"} if stateful else {"messages": [{"type": "user", "text": "Sky?"}]}
    reply = await scene.complete(conversation, {**asked, "functions": [WEATHER]})
    assert reply.types == [
        "sendResult",
        "completeBegin",
        "token",
        "message",
        "message",
        "usage",
        "message",
        "token",
        "message",
        "usage",
        "completeEnd",
        "receiveResult",
        "result",
    ]
    assert [reply.data(index)["type"] for index in (3, 4, 6, 8)] == ["bot", "activity", "activity", "bot"]
    result = reply.data(-1)
    assert (result["text"], result["end"], result["usage"]) == ("Blue.", {"reason": "stop"}, {"token": 14})
    assert scene.model.answers(1) == [{"sky": "blue"}]
    if conversation is not None:
        about = {"name": "weather", "arguments": {"city": "Rome"}}
        assert await scene.activities(conversation) == [
            {"type": "request", "function": about},
            {"type": "response", "function": {**about, "result": {"sky": "blue"}}},
        ]


async def test_a_result_is_waited_for_on_its_channel(scene: Scene) -> None:
    scene.model.plans = [[call("weather"), finish("calls")], [TextDelta("Grey."), finish()]]
    conversation = await scene.api.conversation()
    functions = [function("weather", {"channel": CHANNEL})]
    reply = Reply()
    path = f"/api/v1/conversation/{conversation}/complete"
    asking = asyncio.create_task(
        scene.api("POST", path, {"text": "Sky?", "functions": functions}, accept="application/jsonl", reply=reply)
    )
    begin = await event_of(reply, "waitForChannelMessageBegin")
    assert begin["function"] == {"name": "weather", "args": {"city": "Rome"}}
    await scene.api.post(f"/channel/{CHANNEL}/publish", {"message": {"id": "another", "data": "wrong"}})
    await scene.api.post(f"/channel/{CHANNEL}/publish", {"message": {"id": begin["id"], "data": "grey"}})
    await asking
    assert scene.model.answers(1) == ["grey"]
    assert reply.data(-1)["text"] == "Grey."
    assert reply.types.index("waitForChannelMessageEnd") > reply.types.index("waitForChannelMessageBegin")


async def event_of(reply: Reply, kind: str) -> dict[str, object]:
    async with asyncio.timeout(60):
        while True:
            for event in EVENTS.decode_lines(reply.body) if reply.body else []:
                if event["type"] == kind:
                    return msgspec.convert(event["data"], dict[str, object])
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("function_timeout", [0.5])
async def test_a_function_that_does_not_answer_is_told_to_the_model(scene: Scene) -> None:
    scene.model.plans = [[call("weather"), finish("calls")], [TextDelta("No idea."), finish()]]
    conversation = await scene.api.conversation()
    body = {"text": "Sky?", "functions": [function("weather", {"channel": CHANNEL})]}
    reply = await scene.complete(conversation, body)
    assert reply.data(-1)["text"] == "No idea."
    assert scene.model.answers(1) == [{"error": "weather did not answer within 0.5 s."}]


async def test_without_a_result_the_caller_goes_on(scene: Scene) -> None:
    scene.model.plans = [[call("weather"), finish("calls")], [TextDelta("Red."), finish()]]
    conversation = await scene.api.conversation()
    first = await scene.complete(conversation, {"text": "Sky?", "functions": [function("weather")]})
    assert first.data(-1)["end"] == {"reason": "activity"}
    about = {"name": "weather", "arguments": {"city": "Rome"}}
    response = {"activity": {"type": "response", "function": {**about, "result": "red"}}}
    path = f"/conversation/{conversation}/message/create"
    assert (await scene.api.post(path, {"type": "activity", "text": "", "meta": response})).status == 200
    second = await scene.complete(conversation, {"functions": [function("weather")]})
    assert second.data(-1)["text"] == "Red."
    assert scene.model.answers(1) == ["red"]


async def test_arguments_that_do_not_fit_go_back_to_be_mended(scene: Scene) -> None:
    scene.model.plans = [
        [call("weather", city=7), finish("calls")],
        [call("weather"), finish("calls")],
        [TextDelta("Blue."), finish()],
    ]
    reply = await scene.complete(await scene.api.conversation(), {"text": "Sky?", "functions": [WEATHER]})
    assert reply.data(-1)["text"] == "Blue."
    (error,) = scene.model.answers(1)
    assert "city" in msgspec.convert(error, dict[str, str])["error"]
    assert scene.model.answers(2)[1] == {"sky": "blue"}


@pytest.mark.parametrize("limits, asked", [({"iterations": 1}, 1), ({"iterations": 3}, 3), ({"calls": 2}, 3)])
async def test_limits_end_a_loop(scene: Scene, limits: dict[str, int], asked: int) -> None:
    scene.model.plans = [[TextDelta("Again."), call("weather"), finish("calls")]]
    conversation = await scene.api.conversation()
    reply = await scene.complete(conversation, {"text": "Sky?", "functions": [WEATHER], "limits": limits})
    assert (reply.data(-1)["end"], reply.data(-1)["text"]) == ({"reason": "iteration"}, "Again.")
    assert len(scene.model.prompts) == asked
    activities = await scene.activities(conversation)
    assert len(activities) == 2 * min(asked, limits.get("calls", asked))


async def test_a_model_that_ran_out_of_tokens_goes_on_where_the_request_allows(scene: Scene) -> None:
    scene.model.plans = [[TextDelta("One, "), finish("length")], [TextDelta("two."), finish()]]
    body = {"messages": [{"type": "user", "text": "Count"}]}
    reply = await scene.complete(None, {**body, "limits": {"continuations": 2}})
    assert (reply.data(-1)["text"], reply.data(-1)["end"]) == ("One, two.", {"reason": "stop"})
    scene.model.plans = [[TextDelta("One, "), finish("length")]]
    assert (await scene.complete(None, body)).data(-1)["end"] == {"reason": "length"}
    limited = await scene.complete(None, {**body, "limits": {"continuations": 2}})
    assert (limited.data(-1)["text"], limited.data(-1)["end"]) == ("One, One, One, ", {"reason": "iteration"})


async def test_functions_are_called_first_and_last_where_they_say_so(scene: Scene) -> None:
    start = function("begin", {"data": 1}, call={"start": True})
    end = function("end", {"data": 2}, call={"end": True})
    scene.model.plans = [
        [call("begin"), finish("calls")],
        [TextDelta("Done."), finish()],
        [call("end"), finish("calls")],
    ]
    conversation = await scene.api.conversation()
    reply = await scene.complete(conversation, {"text": "Go", "functions": [end, start]})
    assert (reply.data(-1)["text"], reply.data(-1)["end"]) == ("Done.", {"reason": "stop"})
    assert [prompt.force for prompt in scene.model.prompts] == ["begin", None, "end"]
    stored = await scene.api.texts(conversation)
    assert [kind for kind, _ in stored] == ["user", "activity", "activity", "bot", "activity", "activity"]


async def test_a_repeat_under_the_same_key_calls_nothing_again(scene: Scene) -> None:
    scene.model.plans = [[call("weather"), finish("calls")], [TextDelta("Blue."), finish()]]
    conversation = await scene.api.conversation()
    path = f"/conversation/{conversation}/complete"
    body = {"text": "Sky?", "functions": [WEATHER]}
    first = await scene.api.post(path, body, key="k", accept="application/jsonl")
    again = await scene.api.post(path, body, key="k", accept="application/jsonl")
    assert again.types == first.types
    assert again.data(-1) == first.data(-1)
    assert len(scene.model.prompts) == 2


async def test_a_dispatch_tells_its_events_on_its_channel(scene: Scene) -> None:
    scene.model.plans = [[call("weather"), finish("calls")], [TextDelta("Blue."), finish()]]
    conversation = await scene.api.conversation()
    path = f"/conversation/{conversation}/dispatch"
    channel = "dispatch-channel-of-24-or-more"
    body = {"text": "Sky?", "functions": [WEATHER], "channelId": channel}
    assert (await scene.api.post(path, body)).json == {"channelId": channel}
    assert (await scene.api.post(path, body)).json == {"channelId": channel}
    events = await scene.api.heard(channel)
    assert [event["type"] for event in events] == [
        "sendResult",
        "completeBegin",
        "message",
        "usage",
        "message",
        "token",
        "message",
        "usage",
        "completeEnd",
        "receiveResult",
        "result",
    ]
    assert len(scene.model.prompts) == 2
    turn = (await scene.api.get(f"/conversation/{conversation}/turn/fetch")).json
    assert (turn["state"], turn["attempt"], turn["channelId"], turn["tokens"]) == ("done", 1, channel, 14)


async def test_a_stateless_dispatch_runs_too_and_its_failure_is_told(scene: Scene) -> None:
    scene.model.plans = [[TextDelta("Hi."), finish()]]
    reply = await scene.api.post("/conversation/dispatch", {"messages": [{"type": "user", "text": "Hello"}]})
    events = await scene.api.heard(str(reply.json["channelId"]))
    assert events[-1]["type"] == "result"


async def test_a_cancelled_turn_keeps_what_was_said_and_ends_with_abort(scene: Scene, stalls: Stalls) -> None:
    scene.model.plans = [[TextDelta("One "), call("weather"), finish("calls")]]
    conversation = await scene.api.conversation()
    reply = Reply()
    body = {"text": "Count", "functions": [function("weather", {"channel": CHANNEL})]}
    path = f"/api/v1/conversation/{conversation}/complete"
    asking = asyncio.create_task(scene.api("POST", path, body, accept="application/jsonl", reply=reply))
    await event_of(reply, "waitForChannelMessageBegin")
    running = (await scene.api.get(f"/conversation/{conversation}/turn/fetch")).json
    assert running["state"] == "running"
    cancelled = await scene.api.post(f"/conversation/{conversation}/turn/cancel", {})
    assert cancelled.json == {"id": running["id"]}
    async with stalls.within(1):  # and not in a minute, when the function had not answered
        await asking
    assert reply.types[-4:] == ["abort", "completeEnd", "receiveResult", "result"]
    assert reply.data(-1)["end"] == {"reason": "abort"}
    turn = (await scene.api.get(f"/conversation/{conversation}/turn/fetch")).json
    assert (turn["state"], turn["reason"]) == ("aborted", "abort")
    assert (await scene.api.post(f"/conversation/{conversation}/turn/cancel", {})).status == 404
    scene.model.plans = [[TextDelta("Fine."), finish()]]
    assert (await scene.complete(conversation, {"text": "Go on"})).data(-1)["text"] == "Fine."


async def test_calls_beyond_the_limit_are_not_made_and_the_model_is_not_asked_again(scene: Scene) -> None:
    scene.model.plans = [[call("weather"), call("weather", city="Oslo", number=2), finish("calls")]]
    conversation = await scene.api.conversation()
    reply = await scene.complete(conversation, {"text": "Sky?", "functions": [WEATHER], "limits": {"calls": 1}})
    assert reply.data(-1)["end"] == {"reason": "iteration"}
    assert len(scene.model.prompts) == 1
    assert len(await scene.activities(conversation)) == 2


async def test_a_cancel_while_a_step_is_stored_doubles_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = scene.api.application.adapters.storage
    store_step, stored = storage.store_step, asyncio.Event()

    async def slowly(*args: object, **kwargs: object) -> None:
        stored.set()
        await asyncio.sleep(0.05)
        await store_step(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(storage, "store_step", slowly)
    scene.model.plans = [[TextDelta("Wait."), call("weather"), finish("calls")]]
    conversation = await scene.api.conversation()
    asking = asyncio.create_task(scene.complete(conversation, {"text": "Sky?", "functions": [WEATHER]}))
    await stored.wait()
    await scene.api.post(f"/conversation/{conversation}/turn/cancel", {})
    reply = await asking
    assert reply.data(-1)["end"] == {"reason": "abort"}
    texts = [text for kind, text in await scene.api.texts(conversation) if kind == "bot"]
    assert texts == ["Wait."]


async def test_a_turn_whose_end_cannot_be_stored_at_once_does_not_hold_its_conversation(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = scene.api.application.adapters.storage
    settle, failures = storage.settle_turn, iter([True, True])

    async def fails_twice(*args: object, **kwargs: object) -> None:
        if next(failures, False):
            raise Unavailable("The disk is full.")
        await settle(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(storage, "settle_turn", fails_twice)
    scene.model.plans = [[TextDelta("Hi."), finish()]]
    conversation = await scene.api.conversation()
    path = f"/conversation/{conversation}/complete"
    assert (await scene.api.post(path, {"text": "Hello"})).status == 503
    assert (await scene.api.post(path, {"text": "Again"})).status == 200


@pytest.mark.parametrize("failures", [1, 2])
async def test_a_stream_whose_end_could_not_be_stored_has_an_error_in_place_of_its_result(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    storage = scene.api.application.adapters.storage
    settle, left = storage.settle_turn, iter([True] * failures)

    async def fails(*args: object, **kwargs: object) -> None:
        if next(left, False):
            raise Unavailable("The disk is full.")
        await settle(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(storage, "settle_turn", fails)
    scene.model.plans = [[TextDelta("Hi."), finish()]]
    reply = await scene.complete(await scene.api.conversation(), {"text": "Hello"})
    assert (reply.types[-1], reply.data(-1)["message"]) == ("error", "The disk is full.")
    assert not {"completeEnd", "result"} & set(reply.types)


async def test_a_dispatch_whose_end_could_not_be_stored_is_tried_again_and_has_one_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = scene.api.application.adapters.storage
    settle, left = storage.settle_turn, iter([True])

    async def fails_once(*args: object, **kwargs: object) -> None:
        if next(left, False):
            raise Unavailable("The disk is full.")
        await settle(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(storage, "settle_turn", fails_once)
    scene.model.plans = [[TextDelta("Hi."), finish()]]
    channel = "dispatch-channel-of-24-or-more"
    conversation = await scene.api.conversation()
    await scene.api.post(f"/conversation/{conversation}/dispatch", {"text": "Hello", "channelId": channel})
    live = await scene.api.heard(channel)
    assert [event["type"] for event in live][-2:] == ["receiveResult", "result"]
    await asyncio.sleep(0.05)
    stored = await scene.api.heard(channel)
    assert [event["type"] for event in stored if event["type"] in {"attempt", "result", "error"}] == [
        "attempt",
        "result",
    ]
    assert await scene.api.texts(conversation) == [("user", "Hello"), ("bot", "Hi.")]
