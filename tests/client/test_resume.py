"""Streams that go on where they broke. The script plays the server; what it was asked shows where they went on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.client.drivers import Awaiting, Blocking, Driver
from tests.client.wire import answer, chunked, wire

from turnwise import (
    APIError,
    AsyncResumableStream,
    AsyncTurnwise,
    AttemptEvent,
    BadRequestError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    IdleTimeout,
    InternalServerError,
    ResultEvent,
    ResumableStream,
    StatelessCompleteResult,
    StreamError,
    StreamInterrupted,
    TokenEvent,
    TotalTimeout,
    Turnwise,
)
from turnwise._retry import LONGEST_WAIT
from turnwise.testing import JsonObject, Pause, ScriptedTransport, error, event, message, reasoning_token, result, token

CHANNEL = "a-channel-of-24-characters"
DISPATCH = "/api/v1/conversation/dispatch"
SUBSCRIBE = f"/api/v1/channel/{CHANNEL}/subscribe"
MESSAGES = [{"type": "user", "text": "Hello?"}]
END: JsonObject = {"text": "Hello.", "usage": {"token": 3}, "end": {"reason": "stop"}}
WORK = [event("completeBegin"), token("Hel"), token("lo."), message("Hello."), result(END)]


@pytest.fixture
def script() -> ScriptedTransport:
    return ScriptedTransport()


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def api(request: pytest.FixtureRequest, script: ScriptedTransport) -> Generator[Driver]:
    driver = request.param(secret="s", http_client=script, retry_delay=0.001)
    yield driver
    driver.close()


def numbered(*events: JsonObject, first: int = 1) -> list[JsonObject]:
    """Events as a channel of ours carries them."""
    return [event("message", each, seq=first + place) for place, each in enumerate(events)]


def bare(*events: JsonObject) -> list[JsonObject]:
    """Events as a channel without numbers carries them."""
    return [event("message", each) for each in events]


def dispatches(script: ScriptedTransport) -> None:
    script.answer("POST", DISPATCH, json={"channelId": CHANNEL})


def follow(api: Driver, **options: Any) -> tuple[list[Any], Any]:
    taken: tuple[list[Any], Any] = api.stream("dispatch_stream", None, messages=MESSAGES, channel_id=CHANNEL, **options)
    return taken


def subscriptions(script: ScriptedTransport) -> list[object]:
    """What was asked of the channel, each time."""
    return [request.json for request in script.requests if request.path.endswith("/subscribe")]


def texts(events: list[Any]) -> list[str]:
    return [each.data.token for each in events if isinstance(each, TokenEvent)]


# A whole stream.


def test_work_is_dispatched_and_followed_to_its_result(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[event("nop"), *numbered(*WORK)])
    events, stream = follow(api)
    assert [each.type for each in events] == ["completeBegin", "token", "token", "message", "result"]
    assert (stream.text, stream.result.text, stream.usage.token) == ("Hello.", "Hello.", 3)
    assert isinstance(stream.result, StatelessCompleteResult)
    assert (stream.channel_id, stream.seq) == (CHANNEL, 5)
    assert stream.request_id == "scripted-2"
    assert script.requests[0].json == {"messages": MESSAGES, "channelId": CHANNEL}
    assert subscriptions(script) == [{"historyLength": 10_000}]
    script.assert_done()


def test_without_a_channel_of_its_own_each_stream_makes_a_random_one(api: Driver, script: ScriptedTransport) -> None:
    for given in ({}, {"channel_id": None}):
        dispatches(script)
        script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
        api.stream("dispatch_stream", None, messages=MESSAGES, **given)
    asked: list[Any] = [request.json for request in script.requests if request.path.endswith("/dispatch")]
    first, second = [each["channelId"] for each in asked]
    assert len(first) >= 24
    assert first != second


def test_a_completion_becomes_resumable(api: Driver, script: ScriptedTransport) -> None:
    script.answer("POST", "/api/v1/conversation/c/dispatch", json={"channelId": CHANNEL}, times=2)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[:-1], result({"id": "m", **END})), times=2)
    _, stream = api.stream("complete_stream", "c", text="Hello?", resumable=True)
    assert stream.result.id == "m"
    assert api.call("complete", "c", {"text": "Hello?", "resumable": True}).text == "Hello."
    sent: Any = script.requests[0].json
    assert sent.keys() == {"text", "channelId"}


def test_a_stateless_completion_becomes_resumable(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    assert api.call("complete", None, messages=MESSAGES, resumable=True).text == "Hello."


def test_options_of_the_call_travel_with_both_requests(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    follow(api, extra_headers={"x-a": "1"}, extra_body={"novel": 1}, extra_query={"q": 1}, timeout=None)
    one, two = script.requests
    assert (one.headers["x-a"], two.headers["x-a"]) == ("1", "1")
    assert (one.query, two.query) == ({"q": "1"}, {})
    assert (msgspec.json.decode(one.body or b"")["novel"], two.json) == (1, {"historyLength": 10_000})


# Breaks.


def test_a_cut_stream_goes_on_after_the_last_number_seen(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[:2]), cut=True)
    script.answer("POST", SUBSCRIBE, events=[event("nop"), *numbered(*WORK[2:], first=3)])
    events, stream = follow(api)
    assert [each.type for each in events] == ["completeBegin", "token", "token", "message", "result"]
    assert stream.text == "Hello."
    assert subscriptions(script) == [{"historyLength": 10_000}, {"after": 2}]
    script.assert_done()


def test_a_number_that_was_seen_is_passed_over(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[:3]), cut=True)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    assert texts(follow(api)[0]) == ["Hel", "lo."]


def test_without_numbers_what_was_seen_is_counted_off(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=bare(*WORK[:2]), cut=True)
    script.answer("POST", SUBSCRIBE, events=bare(*WORK[:1]), cut=True)
    script.answer("POST", SUBSCRIBE, events=bare(*WORK))
    events, stream = follow(api)
    assert [each.type for each in events] == ["completeBegin", "token", "token", "message", "result"]
    assert (stream.text, stream.seq) == ("Hello.", None)
    assert subscriptions(script) == [{"historyLength": 10_000}] * 3


def test_every_cut_point_gives_the_same_stream(api: Driver, script: ScriptedTransport) -> None:
    whole = b"".join(msgspec.json.encode(each) + b"\n" for each in [event("nop"), *numbered(*WORK)])
    for cut in range(0, len(whole) - 1, 7):
        dispatches(script)
        script.answer("POST", SUBSCRIBE, body=whole[:cut], headers={"content-type": "application/jsonl"}, cut=True)
        script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
        events, stream = follow(api)
        assert [each.type for each in events] == ["completeBegin", "token", "token", "message", "result"]
        assert stream.text == "Hello."


def test_a_subscription_that_just_ends_is_taken_up_again(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[event("nop"), *numbered(*WORK[:2])])
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[2:], first=3))
    assert follow(api)[1].text == "Hello."


def test_events_that_are_no_longer_kept_are_not_waited_for(api: Driver, script: ScriptedTransport) -> None:
    script.answer("POST", DISPATCH, json={"channelId": CHANNEL, "endedAt": 1.0})
    script.answer("POST", SUBSCRIBE, events=[event("nop"), *numbered(token("Hel")), event("ping"), Pause(30)])
    with pytest.raises(StreamInterrupted, match="no longer kept") as caught:
        follow(api)
    assert caught.value.text == "Hel"
    assert len(subscriptions(script)) == 1


def test_work_that_had_ended_is_followed_while_its_events_are_kept(api: Driver, script: ScriptedTransport) -> None:
    script.answer("POST", DISPATCH, json={"channelId": CHANNEL, "endedAt": 1.0})
    script.answer("POST", SUBSCRIBE, events=[event("nop"), *numbered(*WORK), event("ping")])
    assert follow(api)[1].text == "Hello."


def test_a_server_that_is_away_or_busy_is_waited_for(api: Driver, script: ScriptedTransport) -> None:
    script.answer("POST", DISPATCH, error=ConnectError("refused"))
    script.answer("POST", DISPATCH, error=ConnectionLost("broke"))
    dispatches(script)
    script.answer("POST", SUBSCRIBE, error=ConnectError("refused"))
    script.answer("POST", SUBSCRIBE, status=503, json={"message": "Later", "code": "SERVICE_UNAVAILABLE"})
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[:2]), cut=True)
    script.answer("POST", SUBSCRIBE, error=IdleTimeout("silent"))
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[2:], first=3))
    assert follow(api)[1].text == "Hello."
    asked: list[Any] = [request.json for request in script.requests if request.path.endswith("/dispatch")]
    assert [each["channelId"] for each in asked] == [CHANNEL] * 3
    script.assert_done()


def test_a_reader_that_was_too_slow_comes_back(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[*numbered(*WORK[:2]), error("Subscribe again", "TOO_MANY_REQUESTS")])
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK[2:], first=3))
    assert texts(follow(api)[0]) == ["Hel", "lo."]


def test_the_server_s_wish_for_a_pause_is_heard(script: ScriptedTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Noted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return False

    monkeypatch.setattr("turnwise._resume.threading", SimpleNamespace(Event=Noted))
    dispatches(script)
    busy = {"message": "Later", "code": "TOO_MANY_REQUESTS"}
    script.answer("POST", SUBSCRIBE, status=429, headers={"retry-after": "7"}, json=busy)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    with Turnwise(secret="s", http_client=script) as client:
        client.conversation.dispatch_stream(None, messages=MESSAGES, channel_id=CHANNEL).until_done()
    assert [each for each in waits if each] == [7]


def test_signs_of_life_end_a_row_of_failures(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    for _ in range(3):
        script.answer("POST", SUBSCRIBE, events=[event("nop"), event("ping")], cut=True)
        script.answer("POST", SUBSCRIBE, error=ConnectError("refused"))
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    assert follow(api, retries=2)[1].text == "Hello."


# A turn that was taken over.


def test_an_attempt_resets_what_was_unfinished(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer(
        "POST",
        SUBSCRIBE,
        events=numbered(
            reasoning_token("First. "),
            token("Wait."),
            message("Wait."),
            reasoning_token("Lost. "),
            token("Hel"),
            event("attempt", {"attempt": 2}),
            reasoning_token("Second."),
            token("Hello."),
            message("Hello."),
            result(END),
        ),
    )
    heard: list[tuple[str, str]] = []
    with Turnwise(secret="s", http_client=script) as client:
        stream = client.conversation.dispatch_stream(None, messages=MESSAGES)
        heard = [(each.type, stream.text) for each in stream]
    assert heard[5:8] == [("attempt", "Wait."), ("reasoningToken", "Wait."), ("token", "Hello.")]
    assert (stream.text, stream.reasoning) == ("Hello.", "First. Second.")


def test_the_caller_sees_the_attempt(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(event("attempt", {"attempt": 2}), *WORK))
    first = follow(api)[0][0]
    assert isinstance(first, AttemptEvent)
    assert first.data.attempt == 2


# Ends.


def test_an_error_of_the_work_ends_the_stream(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(token("Hel"), error("The model broke", "SERVICE_UNAVAILABLE")))
    with pytest.raises(StreamError, match="The model broke") as caught:
        follow(api)
    assert (caught.value.text, caught.value.status) == ("Hel", 503)
    assert len(subscriptions(script)) == 1


@pytest.mark.parametrize("refused", [DISPATCH, SUBSCRIBE])
def test_a_refusal_is_the_server_s_error(api: Driver, script: ScriptedTransport, refused: str) -> None:
    script.answer("POST", refused, status=400, json={"message": "No", "code": "BAD_REQUEST"})
    dispatches(script)
    with pytest.raises(BadRequestError):
        follow(api)


def test_an_error_of_the_subscription_that_is_not_worth_another_try_is_raised(
    api: Driver, script: ScriptedTransport
) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[*numbered(token("Hel")), error("Not yours", "NOT_AUTHORIZED")])
    with pytest.raises(StreamError, match="Not yours") as caught:
        follow(api)
    assert (caught.value.status, caught.value.text) == (403, "Hel")


def test_too_many_breaks_in_a_row_interrupt_the_stream(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(token("Hel")), cut=True)
    script.answer("POST", SUBSCRIBE, error=ConnectError("refused"), times=2)
    with pytest.raises(StreamInterrupted, match="refused") as caught:
        follow(api, retries=2)
    assert caught.value.text == "Hel"
    assert isinstance(caught.value.__cause__, ConnectError)
    script.assert_done()


def test_too_many_ends_in_a_row_interrupt_the_stream(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[event("nop")], times=2)
    with pytest.raises(StreamInterrupted, match="The subscription ended before the result came"):
        follow(api, retries=1)


def test_unless_told_otherwise_ten_reconnections_in_a_row_are_made(api: Driver, script: ScriptedTransport) -> None:
    script.answer("POST", DISPATCH, error=ConnectError("refused"), times=11)
    with pytest.raises(ConnectError):
        follow(api)
    script.assert_done()


def test_a_limit_on_the_whole_is_no_reason_to_connect_again(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[*numbered(token("Hel")), Pause(9)])
    with pytest.raises(TotalTimeout):
        follow(api, timeout=0.5)


def test_a_server_that_fails_for_good_is_the_server_s_error(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, status=500, json={"message": "Broken", "code": "INTERNAL_SERVER_ERROR"}, times=2)
    with pytest.raises(InternalServerError):
        follow(api, retries=1)


def test_a_line_that_is_no_event_is_a_decode_error_after_what_came_before_it(
    api: Driver, script: ScriptedTransport
) -> None:
    dispatches(script)
    lines = msgspec.json.encode(numbered(token("Hel"))[0]) + b"\n\n<html>\n"
    script.answer("POST", SUBSCRIBE, body=lines, headers={"content-type": "application/jsonl"})
    with pytest.raises(DecodeError, match="no event") as caught:
        follow(api)
    assert (caught.value.body, caught.value.request_id) == (b"<html>", "scripted-2")


def test_an_error_without_a_shape_is_still_an_error(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[event("error", "broken")], times=2)
    with pytest.raises(APIError, match="without a message"):
        follow(api, retries=1)


def test_what_others_publish_on_the_channel_is_passed_over(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    strange: list[JsonObject] = [event("message", each) for each in ({"data": 1}, "text", None, 3)]
    script.answer("POST", SUBSCRIBE, events=[event("novel", {}), *strange, *numbered(*WORK)])
    assert len(follow(api)[0]) == len(WORK)


def test_an_event_of_an_unknown_type_is_kept(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(event("novel", {"a": 1}), *WORK))
    first = follow(api)[0][0]
    assert (first.type, first.data) == ("novel", {"a": 1})


# Leaving.


def test_the_work_starts_on_entering() -> None:
    script = ScriptedTransport()
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    with Turnwise(secret="s", http_client=script) as client:
        stream = client.conversation.dispatch_stream(None, messages=MESSAGES)
        assert isinstance(stream, ResumableStream)
        assert stream.channel_id is None
        assert script.requests == []
        with stream:
            assert [request.path for request in script.requests] == ["/v1/conversation/dispatch", SUBSCRIBE[4:]]
            assert stream.response is not None
            assert stream.response.status == 200


def test_leaving_early_asks_no_more(api: Driver, script: ScriptedTransport) -> None:
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(*WORK))
    stream = api.leave_early("dispatch_stream", None, messages=MESSAGES)
    assert stream.text == "Hel"
    assert len(script.requests) == 2


def test_a_stream_that_another_thread_closes_just_ends() -> None:
    dispatched = answer(b'{"channelId":"%b"}' % CHANNEL.encode())
    begun = chunked(msgspec.json.encode(numbered(token("Hel"))[0]) + b"\n", end=False)
    with wire(dispatched, begun) as served, Turnwise(base_url=served.url, secret="s") as client:
        stream = client.conversation.dispatch_stream(None, messages=MESSAGES)
        closer = threading.Timer(0.1, stream.close)
        assert isinstance(next(stream), TokenEvent)
        closer.start()
        assert list(stream) == []
        closer.join()
        assert len(served.requests) == 2


def test_a_stream_that_is_closed_while_it_waits_to_connect_again_ends_at_once() -> None:
    script = ScriptedTransport()
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(token("Hel")))
    with Turnwise(secret="s", http_client=script, retry_delay=3600) as client:
        stream = client.conversation.dispatch_stream(None, messages=MESSAGES)
        assert isinstance(next(stream), TokenEvent)
        closer = threading.Timer(0.1, stream.close)
        closer.start()
        began = time.monotonic()
        assert list(stream) == []
        closer.join()
    assert time.monotonic() - began < LONGEST_WAIT / 2
    assert len(script.requests) == 2


async def test_an_async_stream_that_is_closed_while_it_waits_to_connect_again_ends_at_once() -> None:
    script = ScriptedTransport()
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=numbered(token("Hel")))
    async with AsyncTurnwise(secret="s", http_client=script, retry_delay=3600) as client:
        stream = client.conversation.dispatch_stream(None, messages=MESSAGES)
        assert isinstance(await anext(stream), TokenEvent)
        reader = asyncio.create_task(stream.until_done())
        await asyncio.sleep(0.1)
        await stream.aclose()
        async with asyncio.timeout(LONGEST_WAIT / 2):
            await asyncio.wait([reader])
    assert len(script.requests) == 2


async def test_cancelling_the_reader_ends_the_subscription() -> None:
    script = ScriptedTransport()
    dispatches(script)
    script.answer("POST", SUBSCRIBE, events=[*numbered(token("Hel")), Pause(30)])
    async with AsyncTurnwise(secret="s", http_client=script) as client:
        stream = client.conversation.dispatch_stream(None, messages=MESSAGES)
        assert isinstance(stream, AsyncResumableStream)
        reader = asyncio.create_task(stream.until_done())
        async with asyncio.timeout(60):
            while stream.text != "Hel":  # noqa: ASYNC110 - the reader reads for itself
                await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    assert stream.text == "Hel"
    assert len(script.requests) == 2


def test_over_a_real_connection_a_break_is_bridged() -> None:
    dispatched = answer(b'{"channelId":"%b"}' % CHANNEL.encode())
    lines = [msgspec.json.encode(each) + b"\n" for each in numbered(*WORK)]

    def break_off(connection: socket.socket) -> None:
        connection.sendall(chunked(*lines[:2], end=False)[:-9])

    with (
        wire(dispatched, break_off, b"", chunked(*lines)) as served,
        Turnwise(base_url=served.url, secret="s", retry_delay=0.001) as client,
        client.conversation.dispatch_stream(None, messages=MESSAGES) as stream,
    ):
        events = list(stream)
    assert isinstance(events[-1], ResultEvent)
    assert stream.text == "Hello."
