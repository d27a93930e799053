from __future__ import annotations

import doctest
import time

import pytest
from tests.client.wire import complete_call, send_call

from turnwise import testing
from turnwise._call import Timeout
from turnwise._errors import (
    ConnectError,
    ConnectionLost,
    IdleTimeout,
    NotFoundError,
    StreamError,
    StreamInterrupted,
    TotalTimeout,
)
from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner, SyncRunner
from turnwise._transport.base import WireRequest
from turnwise.testing import (
    Pause,
    ScriptedTransport,
    error,
    event,
    item,
    message,
    reasoning_token,
    reply,
    result,
    token,
)

RESULT: testing.JsonObject = {"id": "b", "text": "t", "usage": {"token": 1}, "end": {"reason": "stop"}}


def runners(script: ScriptedTransport) -> tuple[SyncRunner, AsyncRunner]:
    options = ClientOptions.of(http_client=script, retries=0)
    return SyncRunner(options), AsyncRunner(options)


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(testing).failed == 0
    assert doctest.testmod(testing).attempted > 5


async def test_answers_are_found_by_method_and_path_then_in_order() -> None:
    script = ScriptedTransport()
    script.answer("POST", "/api/v1/conversation/*/send", json={"id": "first"})
    script.answer("GET", json={"id": "wrong method"})
    script.answer("POST", "/v1/conversation/c1/send", json={"id": "second"}, times=None)
    runner, later = runners(script)
    assert runner.run(send_call()).id == "first"
    assert (await later.run(send_call())).id == "second"
    assert runner.run(send_call()).id == "second"
    with pytest.raises(AssertionError, match=r"never asked for: GET \*"):
        script.assert_done()
    assert [request.json for request in script.requests] == [{"text": "hi"}] * 3
    assert script.requests[0].path == "/v1/conversation/c1/send"


def test_headers_may_be_written_as_servers_write_them() -> None:
    script = ScriptedTransport()
    script.answer(status=404, json={"message": "Gone.", "code": "NOT_FOUND"}, headers={"Retry-After": "7"})
    with pytest.raises(NotFoundError) as caught:
        runners(script)[0].run(send_call())
    assert caught.value.retry_after == 7


def test_a_request_without_an_answer_says_which_are_left() -> None:
    script = ScriptedTransport()
    runner, _ = runners(script)
    with pytest.raises(
        AssertionError, match=r"No answer is scripted for POST /v1/conversation/c1/send; left are: none"
    ):
        runner.run(send_call())
    script.answer("GET", "/other")
    with pytest.raises(AssertionError, match="left are: GET /other"):
        runner.run(send_call())


async def test_errors_and_delays_come_as_scripted() -> None:
    script = ScriptedTransport()
    for _ in range(2):
        script.answer(status=404, json={"message": "gone", "code": "NOT_FOUND"})
        script.answer(error=ConnectError("refused"))
        script.answer(delay=0.02, json={"id": "late"})
        script.answer(delay=100)
        script.answer(delay=100)
    runner, later = runners(script)
    for kind in (NotFoundError, ConnectError):
        with pytest.raises(kind):
            runner.run(send_call())
    began = time.monotonic()
    assert runner.run(send_call()).id == "late"
    assert time.monotonic() - began >= 0.02
    with pytest.raises(IdleTimeout):
        runner.run(send_call())
    with pytest.raises(TotalTimeout):
        runner.run(send_call(timeout=5))
    for kind in (NotFoundError, ConnectError):
        with pytest.raises(kind):
            await later.run(send_call())
    assert (await later.run(send_call(timeout=None))).id == "late"
    with pytest.raises(IdleTimeout):
        await later.run(send_call())
    with pytest.raises(TotalTimeout):
        await later.run(send_call(timeout=Timeout(idle=200, total=5)))
    script.assert_done()


async def test_streams_pause_split_and_break_as_scripted() -> None:
    script = ScriptedTransport()
    for _ in range(2):
        script.answer(events=[token("a"), Pause(0.01), reasoning_token("hm"), message("a"), result(RESULT)], split=3)
        script.answer(events=[token("a")], cut=True)
        script.answer(events=[token("a"), error("no", "CONFLICT")])
        script.answer(events=[event("novel", 5, seq=1), result(RESULT)])
    runner, later = runners(script)
    streams = [runner.stream(complete_call()) for _ in range(4)]
    assert streams[0].until_done().text == "t"
    assert streams[0].reasoning == "hm"
    with pytest.raises(StreamInterrupted):
        streams[1].until_done()
    with pytest.raises(StreamError):
        streams[2].until_done()
    assert [each.type for each in streams[3]] == ["novel", "result"]
    laters = [later.stream(complete_call()) for _ in range(4)]
    assert (await laters[0].until_done()).text == "t"
    with pytest.raises(StreamInterrupted):
        await laters[1].until_done()
    with pytest.raises(StreamError):
        await laters[2].until_done()
    assert [each.type async for each in laters[3]] == ["novel", "result"]


def test_a_closed_answer_cannot_be_read() -> None:
    script = ScriptedTransport()
    script.answer(body=b"x")
    response = script.send(_request(), Timeout(), stream=False)
    response.close()
    with pytest.raises(ConnectionLost):
        response.read()


def _request() -> WireRequest:
    return WireRequest(method="GET", origin="http://h", target="/x?a=1", headers={})


def test_a_reply_adds_up_to_its_text() -> None:
    script = ScriptedTransport()
    script.answer(events=reply("Nine to  five.", id="m", tokens=7))
    runner, _ = runners(script)
    stream = runner.stream(complete_call())
    texts = [stream.text for _ in stream]
    assert texts[1:5] == ["Nine ", "Nine to ", "Nine to  ", "Nine to  five."]
    assert (stream.result.id, stream.result.text, stream.result.usage.token) == ("m", "Nine to  five.", 7)
    assert item({"id": "c"}) == {"type": "item", "data": {"id": "c"}}


async def test_a_script_has_nothing_to_close() -> None:
    script = ScriptedTransport()
    script.close()
    await script.aclose()
    script.answer("GET", "/x", json=1)
    script.send(_request(), Timeout(), stream=False)
    assert script.requests[0].query == {"a": "1"}
    assert script.requests[0].json is None
