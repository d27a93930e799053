from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import ssl
import time
from typing import cast

import aiohttp
import pytest
import urllib3
from tests.client.wire import SEND, answer, chunked, head, send_call, wire
from tests.stalls import Stalls
from urllib3 import exceptions

from turnwise import _transport
from turnwise._call import Timeout
from turnwise._errors import (
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    IdleTimeout,
    TotalTimeout,
    TurnwiseError,
)
from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner, SyncRunner
from turnwise._transport import aiohttp as over_aiohttp
from turnwise._transport import urllib3 as over_urllib3
from turnwise._transport.aiohttp import AiohttpTransport
from turnwise._transport.base import WireRequest
from turnwise._transport.urllib3 import Urllib3Transport

PATIENT = Timeout()


def request(origin: str, body: bytes | None = b"{}", method: str = "POST") -> WireRequest:
    return WireRequest(method=method, origin=origin, target="/api/v1/x%2Fy?a=b%20c", headers={"x-a": "1"}, body=body)


async def either(origin: str, timeout: Timeout = PATIENT, body: bytes | None = b"{}") -> list[bytes | TurnwiseError]:
    """What either transport makes of a request: the body, or the error."""
    made: list[bytes | TurnwiseError] = []
    one, other = Urllib3Transport(), AiohttpTransport()
    try:
        made.append(await asyncio.to_thread(lambda: one.send(request(origin, body), timeout, stream=False).read()))
    except TurnwiseError as error:
        made.append(error)
    try:
        made.append(await (await other.asend(request(origin, body), timeout, stream=False)).aread())
    except TurnwiseError as error:
        made.append(error)
    one.close()
    await other.aclose()
    return made


async def test_a_request_is_sent_as_it_is() -> None:
    with wire(answer()) as server:
        assert await either(server.url) == [SEND, SEND]
        for sent in server.requests:
            assert sent.startswith(b"POST /api/v1/x%2Fy?a=b%20c HTTP/1.1\r\n")
            assert sent.endswith(b"\r\n\r\n{}")
        assert server.header("x-a") == ["1", "1"]
        assert server.header("accept-encoding") == ["gzip, deflate"] * 2


async def test_large_bodies_and_none_at_all_travel_too() -> None:
    large = b"x" * (2**20 + 1)
    with wire(answer()) as server:
        assert await either(server.url, body=large) == [SEND, SEND]
        assert server.bodies == [large, large]
        assert await either(server.url, body=None) == [SEND, SEND]


async def test_compressed_answers_are_read() -> None:
    with wire(answer(gzip.compress(SEND), content_encoding="gzip")) as server:
        assert await either(server.url) == [SEND, SEND]
        assert await either(server.url, Timeout(total=5)) == [SEND, SEND]


@pytest.mark.parametrize("timeout", [PATIENT, Timeout(idle=None, total=5)])
async def test_connections_are_used_again(timeout: Timeout) -> None:
    with wire(answer(), answer(), chunked(SEND), answer()) as server:
        transport = Urllib3Transport()
        for _ in range(4):
            assert transport.send(request(server.url), timeout, stream=False).read() == SEND
        transport.close()
        assert server.connections == 1
    with wire(answer(), chunked(SEND), chunked(SEND), answer()) as server:
        later = AiohttpTransport()
        for _ in range(4):
            assert await (await later.asend(request(server.url), timeout, stream=False)).aread() == SEND
        assert server.connections == 1
        await later.aclose()
        await later.aclose()


async def test_nobody_listening_is_a_connect_error() -> None:
    for origin in ("http://127.0.0.1:1", "http://name.invalid"):
        for error in await either(origin):
            assert isinstance(error, ConnectError)
            assert origin in str(error)


async def test_no_tls_is_a_connect_error() -> None:
    def plain(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"https://127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    plain(connection)

        serving = asyncio.create_task(asyncio.to_thread(serve))
        for error in await either(origin):
            assert isinstance(error, ConnectError)
        await serving


@pytest.mark.parametrize("sent", [b"", b"nonsense\r\n\r\n", head(content_length="99") + b"{"])
async def test_an_answer_that_breaks_off_is_a_lost_connection(sent: bytes) -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(sent)

    with wire(cut) as server:
        for timeout in (PATIENT, Timeout(total=5)):
            for error in await either(server.url, timeout):
                assert isinstance(error, ConnectionLost)
                assert "broke before" in str(error)


@pytest.mark.parametrize("sent", [b"", head(content_length="99") + b"{"])
@pytest.mark.parametrize(
    "timeout, kind", [(Timeout(idle=0.1), IdleTimeout), (Timeout(idle=None, total=0.1), TotalTimeout)]
)
async def test_silence_is_a_timeout_of_its_kind(sent: bytes, timeout: Timeout, kind: type[Exception]) -> None:
    def silent(connection: socket.socket) -> None:
        connection.sendall(sent)
        connection.settimeout(5)
        connection.recv(1)

    with wire(silent) as server:
        for error in await either(server.url, timeout):
            assert isinstance(error, kind)
            assert "0.1 s" in str(error)


@pytest.mark.forgives_stalls
@pytest.mark.parametrize("closing", [True, False])
async def test_a_trickle_ends_with_the_total_time(closing: bool, stalls: Stalls) -> None:
    def trickle(connection: socket.socket) -> None:
        kept = {"connection": "close"} if closing else {"content_length": "99"}
        connection.sendall(head(content_type="application/json", **kept))
        for _ in range(40):
            connection.sendall(b" ")
            time.sleep(0.05)

    with wire(trickle) as server:
        began = time.monotonic()
        for error in await either(server.url, Timeout(idle=1, total=0.3)):
            assert isinstance(error, TotalTimeout)
        assert time.monotonic() - began < 1.5 + stalls.allowance


def test_a_read_that_begins_too_late_ends_at_once() -> None:
    with wire(answer()) as server:
        response = Urllib3Transport().send(request(server.url), Timeout(total=0.2), stream=False)
        time.sleep(0.25)
        with pytest.raises(TotalTimeout):
            response.read()


def test_an_answer_that_ends_with_its_connection_is_read_in_time() -> None:
    with wire(head(connection="close") + SEND) as server:
        transport = Urllib3Transport()
        assert transport.send(request(server.url), Timeout(total=5), stream=False).read() == SEND


def test_an_answer_is_closed_when_the_reader_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(answer()) as server:
        response = Urllib3Transport().send(request(server.url), PATIENT, stream=False)

        def stopped() -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(response._raw, "read", stopped)
        with pytest.raises(KeyboardInterrupt):
            response.read()
        assert response._raw.connection is None


@pytest.mark.parametrize("total", [None, 0.1])
async def test_a_connection_that_nobody_accepts_is_a_connect_timeout(total: float | None) -> None:
    kind = ConnectTimeout if total is None else TotalTimeout
    timeout = Timeout(connect=0.2, total=total)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        try:
            for error in await either(origin, timeout):
                assert isinstance(error, kind)
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize(
    "error, kind",
    [
        (exceptions.SSLError(ssl.SSLEOFError()), ConnectionLost),
        (exceptions.SSLError(ssl.SSLCertVerificationError("self-signed")), ConnectError),
        (exceptions.ProxyError("refused", OSError("refused")), ConnectError),
        (exceptions.SSLError(), ConnectionLost),
        (ConnectionResetError("reset"), ConnectionLost),
    ],
)
def test_what_urllib3_raises_is_told_apart(error: Exception, kind: type[Exception]) -> None:
    assert type(over_urllib3.translated(error, "http://h", PATIENT, None)) is kind


def test_a_reason_is_never_empty() -> None:
    assert "OSError" in str(over_urllib3.translated(OSError(), "http://h", PATIENT, None))
    assert "ServerDisconnectedError" not in str(over_aiohttp.translated(OSError("gone"), "http://h", PATIENT))
    assert "OSError" in str(over_aiohttp.translated(OSError(), "http://h", PATIENT))


async def test_a_pool_or_session_of_ones_own_is_used_and_left_open() -> None:
    with wire(answer()) as server:
        manager = urllib3.PoolManager()
        runner = SyncRunner(ClientOptions.of(base_url=server.url, http_client=manager))
        assert runner.run(send_call()).id == "m1"
        runner.close()
        Urllib3Transport(manager).close()
        assert len(manager.pools) == 1
        manager.clear()
        async with aiohttp.ClientSession() as session:
            later = AsyncRunner(ClientOptions.of(base_url=server.url, http_client=session))
            assert (await later.run(send_call())).id == "m1"
            await later.close()
            assert not session.closed


def test_what_cannot_send_is_refused() -> None:
    with pytest.raises(TypeError, match=r"PoolManager or a Transport"):
        _transport.transport("pool")
    with pytest.raises(TypeError, match=r"ClientSession or an AsyncTransport"):
        _transport.async_transport(urllib3.PoolManager())


async def test_closing_leaves_the_connections_of_others() -> None:
    with wire(answer()) as server:
        transport = Urllib3Transport()
        transport.close()
        for _ in range(2):
            assert transport.send(request(server.url), PATIENT, stream=False).read() == SEND
            transport.close()
        assert server.connections == 2


async def test_a_client_dropped_without_closing_closes_itself() -> None:
    with wire(answer()) as server:
        later = AiohttpTransport()
        await (await later.asend(request(server.url), PATIENT, stream=False)).aread()
        session = next(iter(later._sessions._open.values()))
        del later
        gc.collect()
        async with asyncio.timeout(60):
            while not session.closed:  # noqa: ASYNC110 - nobody holds what could tell
                await asyncio.sleep(0.01)


async def test_many_time_limits_are_remembered_up_to_a_bound() -> None:
    with wire(answer()) as server:
        one, later = Urllib3Transport(), AiohttpTransport()
        for n in range(102):
            limit = Timeout(idle=5 + n)
            assert one._limits(limit).read_timeout == 5 + n
            assert later._limit(limit).sock_read == 5 + n
        assert len(one._timeouts) == len(later._limits) == 100
        assert one.send(request(server.url), Timeout(idle=500), stream=False).read() == SEND
        one.close()


def test_answers_that_end_in_the_moment_of_the_alarm_are_no_error() -> None:
    with wire(answer()) as server:
        response = Urllib3Transport().send(request(server.url), PATIENT, stream=False)
        assert response.read() == SEND
        response._shut()
        response.close()


def test_a_request_does_not_show_its_headers_or_query() -> None:
    shown = repr(request("http://h"))
    assert shown == "WireRequest(POST http://h/api/v1/x%2Fy)"
    assert request("http://h").url == "http://h/api/v1/x%2Fy?a=b%20c"
    assert cast("object", request("http://h").body) == b"{}"
