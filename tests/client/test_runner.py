from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from tests.client.wire import SEND, answer, complete_call, head, send_call, wire

from turnwise._call import Call, Exchange, PageCall, Timeout
from turnwise._errors import (
    APIError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    GatewayTimeoutError,
    NotFoundError,
    RateLimitError,
    ServiceUnavailableError,
)
from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner, SyncRunner
from turnwise.testing import ScriptedTransport
from turnwise.types.conversation import Conversation, SendResult

BUSY = answer(b'{"message":"busy","code":"SERVICE_UNAVAILABLE"}', "503 Service Unavailable", retry_after_ms="1")
LIST = PageCall(method="GET", path="/api/v1/conversation/list", query={"take": 1}, item=Conversation)


def page(*ids: str, cursor: str | None = "") -> dict[str, object]:
    items = [{"id": each, "createdAt": 1, "updatedAt": 1, "novel": each} for each in ids]
    return {"items": items} if cursor is None else {"items": items, "cursor": cursor}


async def both(call: Call[SendResult], url: str, **options: object) -> list[SendResult]:
    """Perform a call with either runner."""
    made = ClientOptions.of(base_url=url, **options)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    later = AsyncRunner(made)
    results = [SyncRunner(made).run(call), await later.run(call)]
    await later.close()
    return results


async def failure(call: Call[SendResult], url: str, **options: object) -> list[APIError]:
    """Return the errors of a call performed with either runner."""
    made = ClientOptions.of(base_url=url, **options)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    later = AsyncRunner(made)
    with pytest.raises(Exception) as first:  # noqa: PT011 - the tests say which
        SyncRunner(made).run(call)
    with pytest.raises(Exception) as second:  # noqa: PT011 - likewise
        await later.run(call)
    await later.close()
    return [first.value, second.value]  # type: ignore[list-item] # pyright: ignore[reportReturnType]


async def test_a_result_knows_its_answer_and_what_is_not_declared() -> None:
    with wire(answer(x_request_id="r1")) as server:
        for result in await both(send_call(), server.url):
            assert result.id == "m1"
            assert result.extra == {"novel": 7}
            assert result.to_json() == SEND.decode()
            assert result.request_id == "r1"
            assert result.response is not None
            assert result.response.status == 200


async def test_busy_servers_are_asked_again_with_the_same_key_and_body() -> None:
    with wire(BUSY, BUSY, answer(), BUSY, answer()) as server:
        await both(send_call(), server.url)
        first, second = server.header("idempotency-key")[:3], server.header("idempotency-key")[3:]
        assert len({*first}) == len({*second}) == 1
        assert first[0] != second[0]
        assert {*server.bodies} == {b'{"text":"hi"}'}


async def test_the_last_error_is_the_one_that_is_raised() -> None:
    with wire(BUSY) as server:
        for error in await failure(send_call(retries=1), server.url):
            assert isinstance(error, ServiceUnavailableError)
            assert error.retry_after == 0.001
        assert len(server.requests) == 4


async def test_lost_answers_are_asked_for_again_with_the_same_key() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(head(content_length="99") + b"{")

    with wire(b"", answer(), b"", answer()) as server:
        await both(send_call(), server.url, retry_delay=0.001)
        assert len({*server.header("idempotency-key")}) == 2
    with wire(cut) as server:
        for error in await failure(send_call(retries=0), server.url):
            assert isinstance(error, ConnectionLost)


async def test_what_may_have_taken_effect_is_not_repeated_elsewhere() -> None:
    with wire(b"", answer()) as server:
        exchange = Call(method="POST", path=f"{server.url}/x", external=True, result=SendResult)
        runner = SyncRunner(ClientOptions.of(base_url="http://127.0.0.1:1", retry_delay=0.001))
        with pytest.raises(ConnectionLost):
            runner.run(exchange)
        assert len(server.requests) == 1


async def test_refused_connections_are_tried_again() -> None:
    for error in await failure(send_call(retries=1), "http://127.0.0.1:1", retry_delay=0.001):
        assert isinstance(error, ConnectError)


@pytest.mark.parametrize(
    "body, code, message",
    [
        (b'{"message":"gone","code":"NOT_FOUND"}', "NOT_FOUND", "gone"),
        (b'{"message":"gone"}', "ERROR_404", "gone"),
        (b"{}", "ERROR_404", "POST /api/v1/conversation/c1/send failed without a message"),
        (b"<html>", "GENERIC_ERROR", "The answer is an error (404), but none of the API's: its body is not JSON"),
        (b"[]", "GENERIC_ERROR", "The answer is an error (404), but none of the API's: its body is not JSON"),
        (b"\xff", "GENERIC_ERROR", "The answer is an error (404), but none of the API's: its body is not JSON"),
    ],
)
async def test_errors_carry_what_the_server_said(body: bytes, code: str, message: str) -> None:
    with wire(answer(body, "404 Not Found", x_request_id="r1")) as server:
        for error in await failure(send_call(), server.url):
            assert isinstance(error, NotFoundError)
            assert (error.status, error.code, error.message) == (404, code, message)
            assert (error.request_id, error.body) == ("r1", body)
            assert error.headers["x-request-id"] == "r1"


async def test_a_proxy_that_finds_a_body_too_large_is_told_by_its_status() -> None:
    with wire(answer(b"<html>", "413 Payload Too Large")) as server:
        for error in await failure(send_call(), server.url):
            assert error.code == "CONTENT_TOO_LARGE"


async def test_a_redirect_is_an_error_that_says_where_to() -> None:
    with wire(answer(b"", "308 Permanent Redirect", location="https://other"), answer(b"", "302 Found")) as server:
        first, second = await failure(send_call(), server.url)
        assert "https://other" in str(first)
        assert "nowhere" in str(second)


async def test_an_error_in_the_guise_of_an_answer_is_raised() -> None:
    slow = answer(b'{"message":"too slow","code":"GATEWAY_TIMEOUT"}')
    odd = answer(b'{"message":"odd","code":"NEW_CODE"}')
    with wire(slow, slow, odd, odd) as server:
        for error in await failure(send_call(), server.url):
            assert isinstance(error, GatewayTimeoutError)
            assert (error.status, error.code, error.message) == (504, "GATEWAY_TIMEOUT", "too slow")
        for error in await failure(send_call(), server.url):
            assert type(error) is APIError
            assert (error.status, error.code) == (200, "NEW_CODE")


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"\xff", b'{"id":5}', b'"code" "message"', b'["code","message"]', b'{"code":1,"message":2,"x":3}'],
)
async def test_an_answer_of_another_shape_is_a_decode_error(body: bytes) -> None:
    with wire(answer(body, x_request_id="r1")) as server:
        for error in await failure(send_call(), server.url):
            assert isinstance(error, DecodeError)
            assert (error.body, error.request_id) == (body, "r1")
            assert "application/json" in str(error)


async def test_a_value_that_is_no_object_is_a_result_too() -> None:
    script = ScriptedTransport()
    script.answer(json=[1, 2], times=None)
    options = ClientOptions.of(http_client=script)
    call = Call(method="GET", path="/x", result=list[int])
    assert SyncRunner(options).run(call) == await AsyncRunner(options).run(call) == [1, 2]
    items = PageCall(method="GET", path="/y", item=int)
    script = ScriptedTransport()
    script.answer(json={"items": [1, 2]})
    assert SyncRunner(ClientOptions.of(http_client=script)).pages(items).items == [1, 2]


async def test_an_answer_can_be_had_as_it_came() -> None:
    script = ScriptedTransport()
    script.answer(body=b"a,b\n1,2\xff", headers={"content-type": "text/csv"}, times=2)
    script.answer(json={"a": 1})
    script.answer(json={"message": "m", "code": "NOT_FOUND"})
    options = ClientOptions.of(http_client=script)
    exchange = Exchange(method="GET", path="/api/v1/x")
    for raw in (SyncRunner(options).fetch_raw(exchange), await AsyncRunner(options).fetch_raw(exchange)):
        assert (raw.content, raw.text) == (b"a,b\n1,2\xff", "a,b\n1,2\ufffd")
        assert raw.request_id == "scripted-1"
        with pytest.raises(DecodeError, match="not JSON"):
            raw.json()
    assert SyncRunner(options).fetch_raw(exchange).json() == {"a": 1}
    with pytest.raises(NotFoundError):
        SyncRunner(options).fetch_raw(exchange)


def paged(*pages: dict[str, object]) -> tuple[ClientOptions, ScriptedTransport]:
    script = ScriptedTransport()
    for each in pages:
        script.answer("GET", json=each)
    return ClientOptions.of(http_client=script), script


async def test_a_page_iterates_over_all_that_follow() -> None:
    pages = [page("a", "b", cursor="b"), page("c", cursor="c"), page(cursor="")]
    options, script = paged(*pages, *pages)
    first = SyncRunner(options).pages(LIST)
    assert (first.cursor, first.has_more, first.request_id) == ("b", True, "scripted-1")
    assert repr(first) == "Page(2 items, cursor='b')"
    assert [each.id for each in first] == ["a", "b", "c"]
    assert first.items[1].extra == {"novel": "b"}
    later = AsyncRunner(options).pages(LIST)
    assert [each.id async for each in later] == ["a", "b", "c"]
    assert later.items[0].id == "a"
    assert [request.query for request in script.requests] == [
        {"take": "1"},
        {"take": "1", "cursor": "b"},
        {"take": "1", "cursor": "c"},
    ] * 2
    script.assert_done()


@pytest.mark.parametrize(
    "pages, count",
    [
        ([page("a", cursor="")], 1),
        ([page("a", cursor=None)], 1),
        ([page(cursor="x")], 0),
        ([page("a", cursor="a"), page("b", cursor="b"), page("c", cursor="a")], 3),
    ],
)
async def test_a_walk_ends_at_every_kind_of_end(pages: list[dict[str, object]], count: int) -> None:
    options, script = paged(*pages, *pages)
    assert len(list(SyncRunner(options).pages(LIST))) == count
    assert len([each async for each in AsyncRunner(options).pages(LIST)]) == count
    script.assert_done()


async def test_an_async_page_is_fetched_once_when_awaited() -> None:
    options, _ = paged(page("a", cursor="a"), page("b", cursor=""))
    lazy = AsyncRunner(options).pages(LIST)
    assert "await it" in repr(lazy)
    with pytest.raises(RuntimeError, match="await it"):
        _ = lazy.items
    first = await lazy
    assert await lazy is first
    assert (first.cursor, first.has_more, first.request_id) == ("a", True, "scripted-1")
    assert repr(first) == "AsyncPage(1 items, cursor='a')"
    second = await first.next_page()
    assert second is not None
    assert not second.has_more
    assert await second.next_page() is None


def test_pages_go_one_by_one_from_a_given_cursor() -> None:
    options, script = paged(page("a", cursor="a"), page("b", cursor="0"))
    first = SyncRunner(options).pages(PageCall(method="GET", path="/x", item=Conversation, cursor="0"))
    second = first.next_page()
    assert second is not None
    assert second.next_page() is None
    assert [request.query for request in script.requests] == [{"cursor": "0"}, {"cursor": "a"}]


def test_a_page_may_be_an_error_or_nothing_that_can_be_read() -> None:
    options, _ = paged({"message": "m", "code": "TOO_MANY_REQUESTS"}, {"items": 5})
    with pytest.raises(RateLimitError):
        SyncRunner(options).pages(LIST)
    with pytest.raises(DecodeError):
        SyncRunner(options).pages(LIST)


async def test_other_options_share_the_connections_and_another_transport_does_not() -> None:
    options, script = paged(page())
    first, later = SyncRunner(options), AsyncRunner(options)
    assert first.with_options(options.extend(retries=0)).transport is first.transport
    assert later.with_options(options.extend(retries=0)).transport is later.transport
    other = ScriptedTransport()
    assert first.with_options(options.extend(http_client=other)).transport is other
    assert later.with_options(options.extend(http_client=other)).transport is other
    first.close()
    await later.close()
    assert not script.requests


async def test_waits_happen_between_attempts() -> None:
    slow = answer(b"{}", "429 Too Many Requests", retry_after_ms="120")
    with wire(slow, answer(), slow, answer()) as server:
        began = time.monotonic()
        await both(send_call(), server.url)
        assert time.monotonic() - began >= 0.24


async def test_streams_are_opened_again_as_calls_are() -> None:
    with wire(BUSY) as server:
        options = ClientOptions.of(base_url=server.url, retries=1)
        with pytest.raises(ServiceUnavailableError):
            SyncRunner(options).stream(complete_call()).until_done()
        later = AsyncRunner(options)
        with pytest.raises(ServiceUnavailableError):
            await later.stream(complete_call()).until_done()
        await later.close()
        assert len(server.requests) == 4
        assert len({*server.header("idempotency-key")}) == 2


async def test_a_cancelled_call_closes_its_connection() -> None:
    def silent(connection: socket.socket) -> None:
        if connection.recv(1) == b"":
            gone.set()

    gone = threading.Event()
    with wire(silent) as server:
        later = AsyncRunner(ClientOptions.of(base_url=server.url))
        task = asyncio.create_task(later.run(send_call(timeout=Timeout(idle=60))))
        async with asyncio.timeout(60):
            while not server.requests:  # noqa: ASYNC110 - the server is a thread of its own
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 5)
        await later.close()
