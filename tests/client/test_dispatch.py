from __future__ import annotations

import inspect
from collections.abc import Callable

import msgspec
import pytest

from turnwise import (
    AsyncConversationClient,
    CompleteResult,
    ConversationClient,
    DispatchResult,
    StatelessCompleteResult,
    Turn,
    TurnId,
)
from turnwise._call import Exchange
from turnwise.resources import dispatch, exchange
from turnwise.testing import ScriptedTransport
from turnwise.types.event import CompleteEvent, StatelessCompleteEvent

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}}


def sent(call: Exchange) -> object:
    """The body as it travels."""
    return msgspec.json.decode(msgspec.json.encode(call.body))


def test_dispatch_sends_what_complete_sends_and_a_channel() -> None:
    call = dispatch.dispatch_conversation(
        "c",
        text="hi",
        entities=[],
        functions=[FUNCTION],
        extensions={"features": []},
        limits={"calls": 1},
        channel_id="a-channel-of-24-characters",
        retries=1,
    )
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/{conversationId}/dispatch", ("c",))
    assert sent(call) == {
        "text": "hi",
        "entities": [],
        "functions": [FUNCTION],
        "extensions": {"features": []},
        "limits": {"calls": 1},
        "channelId": "a-channel-of-24-characters",
    }
    assert (call.result, call.answer, call.events) == (DispatchResult, CompleteResult, CompleteEvent)
    assert call.options == {"retries": 1}


def test_a_stateless_dispatch_sends_what_complete_sends() -> None:
    given = {
        "messages": [{"type": "user", "text": "hi"}],
        "bot_id": "b",
        "model": "m",
        "backstory": "s",
        "dataset_id": "ds",
        "skillset_id": "sk",
        "privacy": True,
        "moderation": False,
        "attachments": [],
        "contact_id": "k",
        "functions": [FUNCTION],
        "extensions": {},
        "limits": {"iterations": 2},
    }
    call = dispatch.dispatch_stateless(None, **given)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    whole = exchange.complete_stateless(None, **given)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert (call.method, call.path, call.ids) == ("POST", "/api/v1/conversation/dispatch", ())
    assert sent(call) == sent(whole)
    assert (call.result, call.answer, call.events) == (DispatchResult, StatelessCompleteResult, StatelessCompleteEvent)


@pytest.mark.parametrize("name", ["dispatch_conversation", "dispatch_stateless"])
def test_dispatch_takes_all_that_complete_takes_and_a_channel(name: str) -> None:
    taken = set(inspect.signature(getattr(dispatch, name)).parameters)
    completion = getattr(exchange, name.replace("dispatch", "complete"))
    assert taken == set(inspect.signature(completion).parameters) - {"resumable"} | {"channel_id"}


def test_work_under_a_key_of_the_callers_has_the_same_channel_each_time() -> None:
    def channel(conversation_id: str, key: str, name: str = "Idempotency-Key") -> object:
        headers = {name: key}
        call = dispatch.dispatch_conversation(conversation_id, text="Hi.", extra_headers=headers).stream()
        return msgspec.convert(sent(call), dict[str, object])["channelId"]

    first = channel("c", "k")
    assert channel("c", "k", "idempotency-key") == first
    assert len(str(first)) == 32
    assert first not in {channel("c", "l"), channel("d", "k")}


def test_a_turn_is_fetched_and_cancelled() -> None:
    script = ScriptedTransport()
    turn = {"id": "t", "state": "running", "attempt": 2, "startedAt": 1.5, "channelId": "ch", "tokens": 3, "novel": 4}
    script.answer("GET", "/api/v1/conversation/c/turn/fetch", json=turn)
    script.answer("POST", "/api/v1/conversation/c/turn/cancel", json={"id": "t"})
    script.answer("POST", "/api/v1/channel/ch/turn/cancel", json={"id": "t"})
    with ConversationClient(secret="s", http_client=script) as client:
        fetched = client.turn("c")
        assert fetched == Turn(id="t", state="running", attempt=2, started_at=1.5, channel_id="ch", tokens=3)
        assert fetched.extra == {"novel": 4}
        assert client.cancel("c") == client.cancel(None, channel_id="ch") == TurnId(id="t")
    assert [request.json for request in script.requests] == [None, {}, {}]
    script.assert_done()


async def test_work_is_dispatched_and_cancelled_without_blocking() -> None:
    script = ScriptedTransport()
    script.answer("POST", "/api/v1/conversation/c/dispatch", json={"channelId": "ch"})
    script.answer("POST", "/api/v1/conversation/c/turn/cancel", json={"id": "t"})
    async with AsyncConversationClient(secret="s", http_client=script) as client:
        assert (await client.dispatch("c", text="hi")).channel_id == "ch"
        assert (await client.cancel("c")).id == "t"


def test_a_channel_that_would_be_another_path_is_refused() -> None:
    with (
        ConversationClient(secret="s", http_client=ScriptedTransport()) as client,
        pytest.raises(ValueError, match=r"an id cannot be '\.\.'"),
    ):
        client.cancel(None, channel_id="..")


def test_signatures_tell_what_the_methods_answer() -> None:
    def answer(method: Callable[..., object]) -> str:
        return str(inspect.signature(method).return_annotation)

    assert answer(ConversationClient.dispatch) == "DispatchResult"
    assert answer(AsyncConversationClient.dispatch) == "Awaitable[DispatchResult]"
    assert answer(ConversationClient.dispatch_stream) == (
        "ResumableStream[StatelessCompleteEvent, StatelessCompleteResult] | "
        "ResumableStream[CompleteEvent, CompleteResult]"
    )
    assert answer(AsyncConversationClient.dispatch_stream).startswith("AsyncResumableStream[")
    assert answer(ConversationClient.run) == "StatelessCompleteResult | CompleteResult"
    assert answer(ConversationClient.run_stream).endswith("Stream[RunEvent, CompleteResult]")
