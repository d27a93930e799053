from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

import pytest
from tests.client.drivers import Awaiting, Blocking, Driver

from turnwise import AsyncChannelClient, ChannelClient, ChannelMessageEvent, Turnwise
from turnwise._errors import ConnectionLost, NotFoundError, StreamError, StreamInterrupted
from turnwise.testing import ScriptedTransport, error, event

CHANNEL = "a-channel-of-the-tests"


@pytest.fixture
def script() -> ScriptedTransport:
    return ScriptedTransport()


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def api(request: pytest.FixtureRequest, script: ScriptedTransport) -> Generator[Driver]:
    driver = request.param(secret="s", http_client=script, retries=0)
    driver.root = driver.client.channel
    yield driver
    driver.close()


@pytest.mark.parametrize("message", ["text", ["a", "b"], None])
def test_publish_takes_nothing_but_an_object(api: Driver, message: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a mapping as message, not (str|list|NoneType): a JSON object"):
        api.call("publish", CHANNEL, message=message)


def test_publish_sends_a_message_and_answers_the_channel(api: Driver, script: ScriptedTransport) -> None:
    script.answer("POST", f"/api/v1/channel/{CHANNEL}/publish", json={"id": CHANNEL})
    published = api.call("publish", CHANNEL, message={"data": {"degrees": 21}})
    assert published.id == CHANNEL
    assert script.requests[0].json == {"message": {"data": {"degrees": 21}}}


def test_a_request_in_the_wire_s_own_names_is_taken(api: Driver, script: ScriptedTransport) -> None:
    script.answer(json={"id": CHANNEL})
    script.answer(events=[])
    api.call("publish", CHANNEL, {"message": {"error": "no"}})
    api.stream("subscribe", CHANNEL, {"historyLength": 3})
    assert [request.json for request in script.requests] == [{"message": {"error": "no"}}, {"historyLength": 3}]


def test_subscribe_streams_messages_and_passes_over_signs_of_life(api: Driver, script: ScriptedTransport) -> None:
    script.answer(
        "POST",
        f"/api/v1/channel/{CHANNEL}/subscribe",
        events=[
            event("nop"),
            event("message", {"a": 1}, seq=7, createdAt=8),
            event("ping"),
            event("message", {"type": "token", "data": {"token": "b"}}),
        ],
    )
    events, stream = api.stream("subscribe", CHANNEL, history_length=10, after=6)
    assert script.requests[0].json == {"historyLength": 10, "after": 6}
    assert script.requests[0].headers["accept"] == "application/jsonl"
    assert [type(each) for each in events] == [ChannelMessageEvent, ChannelMessageEvent]
    assert [(each.type, each.seq, each.created_at) for each in events] == [("message", 7, 8), ("message", None, None)]
    assert [each.data for each in events] == [{"a": 1}, {"type": "token", "data": {"token": "b"}}]
    assert stream.result is None


def test_a_subscription_that_is_cut_says_so(api: Driver, script: ScriptedTransport) -> None:
    script.answer(events=[event("message", {"a": 1})], cut=True)
    with pytest.raises(StreamInterrupted) as caught:
        api.stream("subscribe", CHANNEL)
    assert isinstance(caught.value.__cause__, ConnectionLost)


def test_a_subscriber_that_is_too_slow_is_told(api: Driver, script: ScriptedTransport) -> None:
    script.answer(events=[event("nop"), error("Subscribe again", "TOO_MANY_REQUESTS")])
    with pytest.raises(StreamError, match="Subscribe again") as caught:
        api.stream("subscribe", CHANNEL)
    assert caught.value.status == 429


def test_a_refused_subscription_is_the_server_s_error(api: Driver, script: ScriptedTransport) -> None:
    script.answer(status=404, json={"message": "No", "code": "NOT_FOUND"})
    with pytest.raises(NotFoundError):
        api.stream("subscribe", CHANNEL)


def test_channels_share_the_connections_of_their_client() -> None:
    with Turnwise(secret="s") as client:
        assert client.channel is client.channel
        assert client.channel._runner is client.conversation._runner


def test_signatures_tell_what_the_methods_answer() -> None:
    assert str(inspect.signature(ChannelClient.subscribe).return_annotation) == "Stream[ChannelEvent, None]"
    assert str(inspect.signature(AsyncChannelClient.subscribe).return_annotation) == "AsyncStream[ChannelEvent, None]"
