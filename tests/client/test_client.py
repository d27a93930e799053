from __future__ import annotations

import asyncio
import email
import inspect
from collections.abc import AsyncIterator, Iterator
from email.policy import HTTP

import pytest
from tests.client.recorder import Recorder, Request, recording

from turnwise import (
    AsyncConversationClient,
    AsyncMessageClient,
    AsyncSessionClient,
    AsyncTurnwise,
    Conversation,
    ConversationClient,
    DecodeError,
    ItemEvent,
    MessageClient,
    RawResponse,
    ResultEvent,
    SessionClient,
    Turnwise,
)
from turnwise._resource import AsyncResource, Resource

SYNC = [ConversationClient, MessageClient, SessionClient, Turnwise]
ASYNC = [AsyncConversationClient, AsyncMessageClient, AsyncSessionClient, AsyncTurnwise]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    for name in ("TURNWISE_SECRET", "TURNWISE_BASE_URL", "CHATBOTKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with recording() as recorder:
        yield recorder


@pytest.fixture
def client(recorder: Recorder) -> Iterator[ConversationClient]:
    with ConversationClient(base_url=recorder.url, secret="s-1", headers={"x-own": "1"}) as client:
        yield client


@pytest.fixture
async def aclient(recorder: Recorder) -> AsyncIterator[AsyncConversationClient]:
    async with AsyncConversationClient(base_url=recorder.url, secret="s-1") as client:
        yield client


def only(recorder: Recorder) -> Request:
    (request,) = recorder.take()
    return request


@pytest.mark.parametrize("kind", [*SYNC, *ASYNC])
def test_a_client_shows_where_it_goes_and_not_its_secret(kind: type[Resource | AsyncResource]) -> None:
    client = kind(base_url="https://chat.example.com", secret="s-1")
    assert repr(client) == f"{kind.__name__}(base_url='https://chat.example.com', secret=Secret('***'))"
    assert "s-1" not in repr(client.secret)
    assert client.secret == "s-1"
    assert client.url == "https://chat.example.com"


def test_a_client_without_a_secret_says_nothing_of_it(recorder: Recorder) -> None:
    client = Turnwise(base_url=recorder.url)
    assert client.secret is None
    assert repr(client) == f"Turnwise(base_url={recorder.url!r})"


def test_host_and_protocol_replace_those_of_the_base_url() -> None:
    client = Turnwise(base_url="http://one.example:8000", host="two.example:9000", protocol="https")
    assert client.url == "https://two.example:9000"


@pytest.mark.parametrize("kind", [*SYNC, *ASYNC])
def test_an_unknown_option_is_refused_with_the_nearest(kind: type[Resource | AsyncResource]) -> None:
    with pytest.raises(TypeError, match=r"'base_ulr'; did you mean 'base_url'\?"):
        kind(base_ulr="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_every_option_is_shown_by_the_signature() -> None:
    shown = inspect.signature(ConversationClient).parameters
    assert list(shown) == [
        "secret",
        "base_url",
        "host",
        "protocol",
        "endpoints",
        "run_as_user_id",
        "run_as_child_user_email",
        "timezone",
        "headers",
        "timeout",
        "retries",
        "retry_delay",
        "retry_timeout",
        "retry_unsafe",
        "http_client",
    ]
    assert list(inspect.signature(AsyncTurnwise).parameters) == list(shown)


def test_sub_clients_share_the_connections(recorder: Recorder) -> None:
    with Turnwise(base_url=recorder.url, secret="s") as client:
        client.conversation.fetch("c")
        client.conversation.message.fetch("c", "m")
        client.conversation.session.create("c")
        client.with_options(timezone="Europe/Sofia").conversation.fetch("c")
    assert len(recorder.requests) == 4
    assert len(recorder.connections) == 1


async def test_async_sub_clients_share_the_connections(recorder: Recorder) -> None:
    async with AsyncTurnwise(base_url=recorder.url, secret="s") as client:
        await client.conversation.fetch("c")
        await client.conversation.message.fetch("c", "m")
        await client.conversation.session.create("c")
        await client.extend(timezone="Europe/Sofia").conversation.fetch("c")
    assert len(recorder.requests) == 4
    assert len(recorder.connections) == 1


def test_sub_clients_are_the_same_each_time() -> None:
    client = Turnwise()
    assert client.conversation is client.conversation
    assert client.conversation.message is client.conversation.message
    assert client.conversation.session is client.conversation.session


def test_with_options_changes_the_copy_alone_and_merges_maps(client: ConversationClient, recorder: Recorder) -> None:
    other = client.with_options(run_as_user_id="u", headers={"x-more": "2"})
    assert type(other) is ConversationClient
    other.message.fetch("c", "m")
    headers = only(recorder).headers
    assert (headers["x-own"], headers["x-more"], headers["x-runas-user-id"]) == ("1", "2", "u")
    client.fetch("c")
    headers = only(recorder).headers
    assert "x-more" not in headers
    assert "x-runas-user-id" not in headers


def test_extend_is_with_options(client: ConversationClient, recorder: Recorder) -> None:
    client.extend(endpoints={"/api/v1/conversation/list": "/other"}).list()
    assert only(recorder).path == "/other"


def test_closing_a_copy_leaves_the_connections_open(client: ConversationClient, recorder: Recorder) -> None:
    client.fetch("c")
    with client.with_options(retries=0) as other:
        other.fetch("c")
    client.message.close()
    client.fetch("c")
    assert len(recorder.connections) == 1


async def test_closing_an_async_copy_leaves_the_connections_open(
    aclient: AsyncConversationClient, recorder: Recorder
) -> None:
    await aclient.fetch("c")
    async with aclient.with_options(retries=0) as other:
        await other.fetch("c")
    await aclient.message.aclose()
    await aclient.fetch("c")
    assert len(recorder.connections) == 1


def test_a_closed_client_opens_new_connections_when_it_is_used_again(recorder: Recorder) -> None:
    client = ConversationClient(base_url=recorder.url)
    client.fetch("c")
    client.close()
    client.fetch("c")
    client.close()
    assert len(recorder.connections) == 2


def test_one_async_client_serves_one_loop_after_another(recorder: Recorder) -> None:
    client = AsyncConversationClient(base_url=recorder.url)

    async def ask() -> str:
        result = await client.fetch("c")
        await client.aclose()
        return result.id

    assert asyncio.run(ask()) == asyncio.run(ask()) == "r1"


def test_results_know_their_response(client: ConversationClient) -> None:
    result = client.fetch("c")
    assert result.request_id == "req-1"
    assert result.response is not None
    assert result.response.status == 200
    assert result.response.headers["content-type"] == "application/json; charset=utf-8"


def test_extra_headers_query_and_body_travel(client: ConversationClient, recorder: Recorder) -> None:
    client.send("c", text="hi", extra_headers={"X-One": "1"}, extra_query={"a": 1}, extra_body={"b": 2})
    request = only(recorder)
    assert request.headers["x-one"] == "1"
    assert request.query == [("a", "1")]
    assert request.json == {"text": "hi", "b": 2}


def test_streams_are_entered_and_iterated_over(client: ConversationClient) -> None:
    with client.complete_stream(None, messages=[]) as stream:
        events = list(stream)
    assert [type(event) for event in events] == [ResultEvent]
    assert stream.result.text == "t"


async def test_async_streams_are_entered_and_iterated_over(aclient: AsyncConversationClient) -> None:
    async with aclient.complete_stream("c", {"text": "hi"}) as stream:
        events = [event async for event in stream]
    assert [type(event) for event in events] == [ResultEvent]
    assert stream.result.id == "r1"


def test_client_fetch_gets_where_there_is_no_body(client: ConversationClient, recorder: Recorder) -> None:
    answer = client.client_fetch("/api/v1/bot/list", query={"take": 5, "meta": {"plan": "pro"}, "none": None})
    request = only(recorder)
    assert (request.method, request.path) == ("GET", "/api/v1/bot/list")
    assert request.query == [("meta.plan", "pro"), ("take", "5")]
    assert request.headers["authorization"] == "Bearer s-1"
    assert isinstance(answer, dict)
    assert answer["id"] == "r1"  # pyright: ignore[reportUnknownVariableType]


def test_client_fetch_posts_a_record_as_json(client: ConversationClient, recorder: Recorder) -> None:
    client.client_fetch("/api/v1/bot/create", record={}, headers={"x-own": "2"}, extra_headers={"x-two": "3"})
    request = only(recorder)
    assert (request.method, request.json, request.headers["content-type"]) == ("POST", {}, "application/json")
    assert (request.headers["x-own"], request.headers["x-two"]) == ("2", "3")


def test_client_fetch_sends_bytes_as_they_are(client: ConversationClient, recorder: Recorder) -> None:
    client.client_fetch("/up", buffer=b"\x00\xff")
    request = only(recorder)
    assert (request.method, request.body) == ("POST", b"\x00\xff")
    assert request.headers["content-type"] == "application/octet-stream"
    client.client_fetch("/up", method="PUT", buffer=b"", headers={"Content-Type": "image/png"})
    request = only(recorder)
    assert (request.method, request.body, request.headers["content-type"]) == ("PUT", b"", "image/png")


@pytest.mark.parametrize(
    "file,name,kind,data",
    [
        ({"data": b"\xff\x00", "name": 'a "b".png', "type": "image/png"}, 'a "b".png', "image/png", b"\xff\x00"),
        ({"data": "grüße"}, "blob", "application/octet-stream", "grüße".encode()),
    ],
)
def test_client_fetch_sends_a_file_as_a_form(
    client: ConversationClient, recorder: Recorder, file: dict[str, object], name: str, kind: str, data: bytes
) -> None:
    client.client_fetch("/up", file=file)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    request = only(recorder)
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    (part,) = email.message_from_bytes(head + request.body, policy=HTTP).iter_parts()
    assert part.get_param("name", header="content-disposition") == "file"
    assert part.get_filename() == name.replace('"', "%22")
    assert part.get_content_type() == kind
    assert part.get_payload(decode=True) == data


def test_client_fetch_refuses_two_bodies_and_unknown_keywords(client: ConversationClient) -> None:
    with pytest.raises(TypeError, match="one body: give either record or buffer"):
        client.client_fetch("/up", record={}, buffer=b"")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'qeury'; did you mean 'query'\?"):
        client.client_fetch("/up", qeury={})  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def test_client_fetch_knows_a_path_by_its_template(client: ConversationClient, recorder: Recorder) -> None:
    template = "/api/v1/bot/{botId}/fetch"
    other = client.extend(endpoints={template: "/bots"})
    other.client_fetch("/api/v1/bot/b/fetch", endpoint=template)
    assert only(recorder).path == "/bots"


def test_what_leaves_for_somebody_else_carries_no_secret(client: ConversationClient, recorder: Recorder) -> None:
    other = client.extend(run_as_user_id="u", run_as_child_user_email="u@x.example", timezone="UTC")
    other.client_fetch(f"{recorder.url}/put", external=True, method="PUT", buffer=b"x")
    headers = only(recorder).headers
    assert not {"authorization", "x-runas-user-id", "x-runas-child-user-email"} & headers.keys()
    assert headers["x-timezone"] == "UTC"


def test_what_goes_to_another_origin_carries_no_secret_either(client: ConversationClient) -> None:
    with recording() as elsewhere:
        client.client_fetch(f"{elsewhere.url}/put", method="PUT", buffer=b"x")
        assert "authorization" not in only(elsewhere).headers


def test_client_fetch_gives_what_is_not_json_as_it_is(client: ConversationClient, recorder: Recorder) -> None:
    recorder.answers["/file"] = ("image/png", b"\x89PNG")
    answer = client.client_fetch("/file")
    assert isinstance(answer, RawResponse)
    assert (answer.content, answer.response.headers["content-type"]) == (b"\x89PNG", "image/png")


def test_client_fetch_reads_a_type_where_one_is_given(client: ConversationClient, recorder: Recorder) -> None:
    answer = client.client_fetch("/api/v1/conversation/c/fetch", result=Conversation)
    assert isinstance(answer, Conversation)
    assert answer.request_id == "req-1"
    recorder.answers["/wrong"] = ("application/json", b"[")
    with pytest.raises(DecodeError):
        client.client_fetch("/wrong", result=Conversation)


def test_client_fetch_stream_streams_events(client: ConversationClient, recorder: Recorder) -> None:
    with client.client_fetch_stream("/api/v1/bot/list", query={"take": 1}) as stream:
        (event,) = stream
    assert isinstance(event, ItemEvent)
    request = only(recorder)
    assert (request.headers["accept"], request.query) == ("application/jsonl", [("take", "1")])


async def test_async_client_fetch_is_the_same(aclient: AsyncConversationClient, recorder: Recorder) -> None:
    answer = await aclient.client_fetch("/api/v1/conversation/c/fetch", result=Conversation, timeout=5)
    assert isinstance(answer, Conversation)
    assert isinstance(await aclient.client_fetch("/x", record={"a": 1}), dict)
    async with aclient.client_fetch_stream("/y", record={"a": 1}) as stream:
        events = [event async for event in stream]
    assert [type(event) for event in events] == [ResultEvent]
    assert [(request.method, request.path) for request in recorder.take()] == [
        ("GET", "/api/v1/conversation/c/fetch"),
        ("POST", "/x"),
        ("POST", "/y"),
    ]
