"""The clients against our own server, over a real socket: every operation and every error, blocking and async."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from tests.client.drivers import Awaiting, Blocking, Driver
from tests.deployed import DEPLOYED, RETRIES, account_of, serving
from tests.server.asgi import ScriptedModels

from turnwise import (
    AuthenticationError,
    BadRequestError,
    ChannelMessageEvent,
    CompleteBeginEvent,
    CompleteEndEvent,
    ConflictError,
    ConnectError,
    ContentTooLargeError,
    IdleTimeout,
    MessageEvent,
    MethodNotAllowedError,
    Model,
    NotFoundError,
    NotImplementedByServerError,
    PermissionDeniedError,
    RateLimitError,
    ReasoningTokenEvent,
    ReceiveResultEvent,
    ResultEvent,
    SendResultEvent,
    ServerError,
    StreamError,
    Timeout,
    TokenEvent,
    TotalTimeout,
    UsageEvent,
)
from turnwise.server.embed import EmbeddedServer
from turnwise.server.ids import new_id
from turnwise.server.settings import Settings

T = TypeVar("T")


@pytest.fixture(scope="module")
def models() -> ScriptedModels:
    return ScriptedModels()


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    if DEPLOYED is not None:
        return DEPLOYED.database
    return f"sqlite:///{tmp_path_factory.mktemp('server') / 'turnwise.db'}"


@pytest.fixture(scope="module")
def server(database_url: str, models: ScriptedModels) -> Generator[EmbeddedServer]:
    settings = Settings(database_url=database_url, ping_interval=0.2, turn_timeout=0.5, grace=1)
    with serving(settings, models) as server:
        yield server


@pytest.fixture(scope="module")
def other_secret(server: EmbeddedServer, database_url: str) -> str:
    """The secret of another account of the same server."""
    return account_of(database_url, "other")


@pytest.fixture(params=[Blocking, Awaiting], ids=["blocking", "async"])
def api(request: pytest.FixtureRequest, server: EmbeddedServer) -> Generator[Driver]:
    driver = request.param(base_url=server.url, secret=server.secret, retries=RETRIES)
    yield driver
    driver.close()


@pytest.fixture
def conversation(api: Driver) -> str:
    created: str = api.call("create", model="echo").id
    return created


# Every operation.


def test_create_fetch_update_and_delete(api: Driver) -> None:
    created = api.call(
        "create",
        name="Café ☕",
        meta={"plan": "pro", "keep": 1},
        model=Model("echo", temperature=0),
        backstory="You are kind.",
        expires_at=4102444800000,
        messages=[{"type": "user", "text": "Hello"}],
    )
    assert [(message.type, message.text) for message in created.messages] == [("user", "Hello")]
    assert created.request_id
    fetched = api.call("fetch", created.id)
    assert (fetched.name, fetched.meta, fetched.model) == ("Café ☕", {"plan": "pro", "keep": 1}, "echo/temperature=0")
    assert (fetched.backstory, fetched.expires_at) == ("You are kind.", 4102444800000)
    assert api.call("update", created.id, meta={"plan": None, "new": True}, expires_at=None).id == created.id
    fetched = api.call("fetch", created.id)
    assert (fetched.meta, fetched.expires_at, fetched.name) == ({"keep": 1, "new": True}, None, "Café ☕")
    assert api.call("delete", created.id).id == created.id
    with pytest.raises(NotFoundError):
        api.call("fetch", created.id)


def test_a_mapping_in_the_wires_names_does_the_same(api: Driver) -> None:
    created = api.call("create", {"model": {"name": "echo", "config": {"temperature": 0}}, "name": "n"})
    assert api.call("fetch", created.id).model == "echo/temperature=0"
    assert api.call("complete", created.id, {"text": "hi"}).text == "You said: hi"


def test_lists_walk_all_pages_and_streams_all_items(api: Driver) -> None:
    tag = new_id()
    ids = [api.call("create", name=str(number), meta={"tag": tag, "even": number % 2 == 0}).id for number in range(7)]
    assert [item.id for item in api.items("list", take=3, meta={"tag": tag})] == ids[::-1]
    page = api.call("list", take=3, order="asc", meta={"tag": tag})
    assert [item.id for item in page.items] == ids[:3]
    page = api.call("list", page.cursor, take=3, order="asc", meta={"tag": tag})
    assert [item.id for item in page.items] == ids[3:6]
    assert [item.id for item in api.items("list", meta={"tag": tag, "even": True})] == ids[::-2]
    for name in ("list_stream", "export_stream"):
        events, stream = api.stream(name, meta={"tag": tag}, order="asc")
        assert [event.data.id for event in events] == ids
        assert stream.result is None
    assert [item.id for item in api.items("export", meta={"tag": tag}, take=2)] == ids[::-1]


def test_messages_are_created_read_changed_and_deleted(api: Driver, conversation: str) -> None:
    first = api.call("message.create", conversation, type="user", text="One", meta={"a": 1})
    second = api.call("message.create", conversation, {"type": "bot", "text": "Two \u2028 lines"})
    fetched = api.call("message.fetch", conversation, second.id)
    assert (fetched.type, fetched.text) == ("bot", "Two \u2028 lines")
    assert api.call("message.update", conversation, first.id, text="Uno", meta={"b": 2}).id == first.id
    assert [item.text for item in api.items("message.list", conversation, take=1)] == ["Uno", "Two \u2028 lines"]
    page = api.call("message.list", conversation, order="desc")
    assert [item.id for item in page.items] == [second.id, first.id]
    assert page.items[1].meta == {"a": 1, "b": 2}
    events, _ = api.stream("message.list_stream", conversation, take=1)
    assert [event.data.text for event in events] == ["Uno"]
    assert api.call("message.upvote", conversation, second.id, value=5, reason="good").id == second.id
    assert api.call("message.downvote", conversation, second.id).id == second.id
    assert api.call("message.delete", conversation, first.id).id == first.id
    assert [item.id for item in api.items("message.list", conversation)] == [second.id]


def test_send_and_receive_make_an_exchange(api: Driver, conversation: str) -> None:
    sent = api.call("send", conversation, text="  hello ")
    received = api.call("receive", conversation)
    assert received.text == "You said: hello"
    assert received.usage.token > 0
    stored = api.items("message.list", conversation)
    assert [(item.id, item.text) for item in stored] == [(sent.id, "hello"), (received.id, "You said: hello")]


def test_send_and_receive_stream_to_one_result(api: Driver, conversation: str) -> None:
    events, stream = api.stream("send_stream", conversation, text="hello")
    assert [type(event) for event in events] == [ResultEvent]
    assert stream.result.id
    events, stream = api.stream("receive_stream", conversation)
    assert type(events[-1]) is ResultEvent
    assert stream.result.text == stream.text == "You said: hello"
    assert not [event for event in events if isinstance(event, (SendResultEvent, ReceiveResultEvent))]


def test_complete_answers_what_was_said(api: Driver, conversation: str) -> None:
    result = api.call("complete", conversation, text="hello")
    assert (result.text, result.end.reason) == ("You said: hello", "stop")
    assert result.usage.token > 0
    assert result.request_id
    assert api.call("complete", conversation).text.startswith("You said:")


def test_complete_streams_every_event_in_order(api: Driver, conversation: str) -> None:
    events, stream = api.stream("complete_stream", conversation, text="hello")
    kinds: list[type] = [type(event) for event in events if not isinstance(event, TokenEvent)]
    assert kinds == [
        SendResultEvent,
        CompleteBeginEvent,
        MessageEvent,
        UsageEvent,
        CompleteEndEvent,
        ReceiveResultEvent,
        ResultEvent,
    ]
    tokens = "".join(event.data.token for event in events if isinstance(event, TokenEvent))
    assert tokens == stream.text == stream.result.text == "You said: hello"
    assert stream.usage.token == stream.result.usage.token > 0
    assert stream.request_id


def test_a_stateless_completion_stores_nothing(api: Driver) -> None:
    before = api.call("list", take=1).items
    messages = [{"type": "user", "text": "hello"}]
    assert api.call("complete", None, model="echo", messages=messages).text == "You said: hello"
    events, stream = api.stream("complete_stream", None, {"model": "thinks", "messages": messages})
    assert stream.text == stream.result.text == "Grüße 😀"
    assert stream.reasoning == "Hm…"
    assert any(isinstance(event, ReasoningTokenEvent) for event in events)
    assert [item.id for item in api.call("list", take=1).items] == [item.id for item in before]


def test_votes_and_usage(api: Driver, conversation: str) -> None:
    assert api.call("upvote", conversation, value=3).id == conversation
    assert api.call("downvote", conversation, reason="slow").id == conversation
    api.call("complete", conversation, text="hello")
    since = datetime.now(UTC) - timedelta(days=1)
    usage = api.call("usage", conversation, from_=since, to=datetime.now(UTC) + timedelta(hours=1))
    assert usage.tokens > 0
    assert usage.messages == 2
    assert api.call("usage", conversation, to=since.isoformat()).messages == 0


def test_a_session_token_opens_its_conversation(api: Driver, conversation: str) -> None:
    session = api.call("session.create", conversation, duration_in_seconds=60)
    assert session.id == conversation
    assert session.token not in repr(session)
    guest = api.with_options(secret=session.token)
    assert guest.call("complete", conversation, text="hello").text == "You said: hello"
    with pytest.raises(PermissionDeniedError) as refused:
        guest.call("list")
    assert (refused.value.status, refused.value.code) == (403, "NOT_AUTHORIZED")


def test_requests_by_hand_reach_the_server(api: Driver, conversation: str) -> None:
    answer = api.call("client_fetch", f"/api/v1/conversation/{conversation}/fetch")
    assert answer["id"] == conversation
    table = api.call("client_fetch", "/api/v1/conversation/export", headers={"accept": "text/csv"}, query={"take": 1})
    assert table.response.headers["content-type"].startswith("text/csv")
    assert b"id" in table.content.splitlines()[0]
    events, _ = api.stream("client_fetch_stream", "/api/v1/conversation/list", query={"take": 1})
    assert len(events) == 1


def test_a_dispatch_is_followed_to_its_result(api: Driver, conversation: str) -> None:
    events, stream = api.stream("dispatch_stream", conversation, text="hello")
    assert isinstance(events[0], SendResultEvent)
    assert isinstance(events[-1], ResultEvent)
    assert stream.text == stream.result.text == "You said: hello"
    assert api.call("turn", conversation).state == "done"
    assert [item.text for item in api.items("message.list", conversation)] == ["hello", "You said: hello"]


def test_a_dispatch_is_read_on_its_channel(api: Driver, conversation: str) -> None:
    channel = api.call("dispatch", conversation, text="hello").channel_id
    api.root = api.client.channel
    heard = api.until(lambda each: each.data["type"] == "result", "subscribe", channel, history_length=100)
    assert [each.data["type"] for each in heard[:2]] == ["sendResult", "completeBegin"]
    assert [each.data["data"]["text"] for each in heard if each.data["type"] == "message"] == ["You said: hello"]


def test_a_resumable_stream_answers_what_was_said(api: Driver, conversation: str) -> None:
    events, stream = api.stream("complete_stream", conversation, text="hello", resumable=True)
    assert isinstance(events[-1], ResultEvent)
    assert stream.text == stream.result.text == "You said: hello"
    again, followed = api.stream("complete_stream", conversation, text="again", resumable=True)
    assert isinstance(again[-1], ResultEvent)
    assert followed.text == "You said: again"


def test_a_channel_gives_what_was_published_in_order(api: Driver) -> None:
    channel = new_id()
    api.root = api.client.channel
    for number in range(3):
        assert api.call("publish", channel, message={"number": number}).id == channel

    def is_last(each: ChannelMessageEvent) -> bool:
        return each.data == {"number": 2}

    heard = api.until(is_last, "subscribe", channel, history_length=10)
    assert [each.data for each in heard] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert [each.data for each in api.until(is_last, "subscribe", channel, after=heard[1].seq)] == [{"number": 2}]


def test_leaving_a_stream_early_keeps_what_was_said(api: Driver, conversation: str) -> None:
    api.call("update", conversation, model="slow")
    stream = api.leave_early("complete_stream", conversation, text="hello")
    assert stream.text == "Well"
    with pytest.raises(RuntimeError, match="not at its end"):
        _ = stream.result
    kept = _eventually(lambda: [item for item in api.items("message.list", conversation) if item.type == "bot"])
    assert (kept[0].text, kept[0].meta["interrupted"]) == ("Well", True)


def _eventually(look: Callable[[], list[T]]) -> list[T]:
    deadline = time.monotonic() + 60  # a process that died is missed after 6 seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# Every error.


def test_a_malformed_request_is_400(api: Driver, conversation: str) -> None:
    with pytest.raises(BadRequestError, match=r"text") as refused:
        api.call("send", conversation, text="   ")
    assert (refused.value.status, refused.value.code) == (400, "BAD_REQUEST")
    assert refused.value.request_id
    assert b"BAD_REQUEST" in refused.value.body
    with pytest.raises(BadRequestError, match="echo"):
        api.call("complete", None, model="unheard-of", messages=[{"type": "user", "text": "hi"}])
    with pytest.raises(BadRequestError):
        api.call("upvote", conversation, value=101)


def test_a_stream_that_is_refused_before_it_begins_raises_the_same(api: Driver, conversation: str) -> None:
    with pytest.raises(BadRequestError):
        api.stream("send_stream", conversation, text="")
    with pytest.raises(NotFoundError):
        api.stream("complete_stream", "conversation_unheard_of", text="hi")


def test_a_wrong_secret_is_401(api: Driver) -> None:
    with pytest.raises(AuthenticationError, match="TURNWISE_SECRET") as refused:
        api.with_options(secret="tw-wrong-secret").call("list")
    assert (refused.value.status, refused.value.code) == (401, "NOT_AUTHENTICATED")
    assert "tw-wrong-secret" not in str(refused.value)


def test_another_accounts_conversation_is_403(api: Driver, conversation: str, other_secret: str) -> None:
    other = api.with_options(secret=other_secret)
    with pytest.raises(PermissionDeniedError) as refused:
        other.call("fetch", conversation)
    assert (refused.value.status, refused.value.code) == (403, "NOT_AUTHORIZED")
    with pytest.raises(PermissionDeniedError):
        other.stream("complete_stream", conversation, text="hi")
    assert other.items("list") == []


def test_what_is_not_there_is_404(api: Driver, conversation: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        api.call("fetch", "a/b?c ü")
    assert (refused.value.status, refused.value.code) == (404, "NOT_FOUND")
    with pytest.raises(NotFoundError):
        api.call("message.fetch", conversation, "message_unheard_of")
    with pytest.raises(NotFoundError, match="botId"):
        api.call("create", bot_id="unheard-of")
    with pytest.raises(NotFoundError):
        api.call("client_fetch", "/api/v1/unheard/of")


def test_a_wrong_method_is_405(api: Driver) -> None:
    with pytest.raises(MethodNotAllowedError) as refused:
        api.call("client_fetch", "/api/v1/conversation/create")
    assert refused.value.headers["allow"]


def test_an_idempotency_key_gives_the_same_answer_and_refuses_another_body(api: Driver, conversation: str) -> None:
    key = {"idempotency-key": new_id()}
    first = api.call("send", conversation, text="once", extra_headers=key)
    assert api.call("send", conversation, text="once", extra_headers=key).id == first.id
    assert len(api.items("message.list", conversation)) == 1
    with pytest.raises(ConflictError) as refused:
        api.call("send", conversation, text="twice", extra_headers=key)
    assert (refused.value.status, refused.value.code) == (409, "CONFLICT")


@pytest.mark.holds_a_stream
def test_a_reply_that_waits_too_long_for_the_one_before_it_is_409(api: Driver, conversation: str) -> None:
    api.call("update", conversation, model="slow")
    with pytest.raises(ConflictError) as refused:
        api.call_while_streaming("complete_stream", "complete", conversation, text="hi")
    assert (refused.value.status, refused.value.code) == (409, "CONFLICT")


@pytest.mark.holds_a_stream
def test_a_message_is_stored_while_a_reply_is_made(api: Driver, conversation: str) -> None:
    api.call("update", conversation, model="slow")
    assert api.call_while_streaming("complete_stream", "send", conversation, text="hi").id
    assert [item.text for item in api.items("message.list", conversation)][:2] == ["hi", "hi"]


def test_too_large_a_body_is_413(api: Driver, conversation: str) -> None:
    with pytest.raises(ContentTooLargeError) as refused:
        api.call("send", conversation, text="x" * 4_600_000)
    assert refused.value.status == 413


@pytest.mark.parametrize("field", ["privacy", "moderation"])
def test_what_the_server_cannot_do_yet_is_501_and_named(api: Driver, field: str) -> None:
    with pytest.raises(NotImplementedByServerError, match=field) as refused:
        api.call("create", **{field: True})
    assert (refused.value.status, refused.value.code) == (501, "NOT_IMPLEMENTED")


def test_a_busy_model_is_429_and_says_when(api: Driver) -> None:
    with pytest.raises(RateLimitError, match="busy") as refused:
        api.call("complete", None, model="refuses", messages=[{"type": "user", "text": "hi"}], retries=0)
    assert refused.value.retry_after == 7


def test_a_model_that_breaks_off_is_5xx(api: Driver, conversation: str) -> None:
    api.call("update", conversation, model="breaks")
    with pytest.raises(ServerError, match="broke off") as failed:
        api.call("complete", conversation, text="hi", retries=0)
    assert (failed.value.status, failed.value.code) == (502, "BAD_GATEWAY")


def test_a_model_that_breaks_off_ends_a_stream_with_its_error(api: Driver, conversation: str) -> None:
    api.call("update", conversation, model="breaks")
    with pytest.raises(StreamError, match="broke off") as failed:
        api.stream("complete_stream", conversation, text="hi")
    assert (failed.value.code, failed.value.text) == ("BAD_GATEWAY", "Half a")


def test_silence_and_slowness_are_timeouts_of_their_own(api: Driver) -> None:
    silent = {"model": "silent", "messages": [{"type": "user", "text": "hi"}]}
    with pytest.raises(TotalTimeout):
        api.call("complete", None, silent, timeout=0.3, retries=0)
    with pytest.raises(IdleTimeout):
        api.call("complete", None, silent, timeout=Timeout(idle=0.3), retries=0)


@pytest.mark.forgives_stalls
def test_pings_keep_a_silent_stream_alive(api: Driver) -> None:
    silent = {"model": "silent", "messages": [{"type": "user", "text": "hi"}]}
    with pytest.raises(TotalTimeout):
        api.stream("complete_stream", None, silent, timeout=Timeout(idle=1.5, total=2.5))


def test_no_server_is_a_connect_error(api: Driver) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        elsewhere = api.with_options(base_url=f"http://127.0.0.1:{unused.getsockname()[1]}", retries=0)
        with pytest.raises(ConnectError):
            elsewhere.call("list")
        with pytest.raises(ConnectError):
            elsewhere.stream("complete_stream", None, messages=[])
