"""Bounds of requests, in the application and on real connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, MutableMapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from tests.server.asgi import Api, ScriptedModels

from turnwise.server.embed import EmbeddedServer, embedded
from turnwise.server.settings import Settings


async def test_a_body_may_have_four_and_a_half_megabytes(api: Api) -> None:
    for size, status in ((4_500_000, 200), (4_500_001, 413)):
        body = b'{"unknown":"' + b"x" * (size - 14) + b'"}'
        assert len(body) == size
        reply = await api("POST", "/v1/conversation/create", body)
        assert reply.status == status
        declared = await api("POST", "/v1/conversation/create", body, headers={"content-length": str(size)})
        assert declared.status == status
        parts = [body[at : at + 100_000] for at in range(0, size, 100_000)]
        assert (await api("POST", "/v1/conversation/create", parts=parts)).status == status


async def test_a_declared_length_beyond_all_bounds_is_413(api: Api) -> None:
    for length in ("9" * 12, "9" * 40):
        reply = await api("POST", "/v1/conversation/create", b"{}", headers={"content-length": length})
        assert (reply.status, reply.code) == (413, "CONTENT_TOO_LARGE")


@pytest.mark.parametrize("letter", ["x", "ü"])
async def test_a_text_may_have_a_megabyte(api: Api, letter: str) -> None:
    conversation = await api.conversation()
    fitting = letter * (1_000_000 // len(letter.encode()))
    for operation, body in (("send", {}), ("message/create", {"type": "user"}), ("complete", {})):
        path = f"/conversation/{conversation}/{operation}"
        assert (await api.post(path, {**body, "text": fitting})).status == 200
        reply = await api.post(path, {**body, "text": fitting + "y"})
        assert (reply.status, reply.code) == (413, "CONTENT_TOO_LARGE")
        assert reply.message.startswith("$.text")
    created = await api.post("/conversation/create", {"messages": [{"type": "user", "text": fitting + "y"}]})
    assert created.status == 413
    assert created.message.startswith("$.messages[0].text")


async def test_a_thousand_messages_may_come_at_once(api: Api) -> None:
    message = {"type": "user", "text": "a"}
    assert (await api.post("/conversation/create", {"messages": [message] * 1000})).status == 200
    reply = await api.post("/conversation/create", {"messages": [message] * 1001})
    assert reply.status == 400
    assert reply.message.startswith("$.messages")


def creating(api: Api) -> MutableMapping[str, object]:
    """The scope of a request whose body the test sends itself."""
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/conversation/create",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {api.secret}".encode())],
    }


class Answered(list[MutableMapping[str, object]]):
    """Takes what the application sends."""

    async def send(self, message: MutableMapping[str, object]) -> None:
        self.append(message)


@pytest.mark.parametrize("parts", [[], [b'{"name":'], [b'{"name":', b'"N"}']])
async def test_a_client_that_leaves_before_its_body_is_complete_changes_nothing(api: Api, parts: list[bytes]) -> None:
    async def receive() -> MutableMapping[str, object]:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": True}
        return {"type": "http.disconnect"}

    answered = Answered()
    await api.application(creating(api), receive, answered.send)
    assert not answered
    assert (await api.get("/conversation/list")).items == []


class TestSlowBodies:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(body_timeout=0.05)

    async def test_a_body_that_does_not_arrive_is_408(self, api: Api) -> None:
        async def receive() -> MutableMapping[str, object]:
            await asyncio.sleep(10)
            return {"type": "http.disconnect"}

        answered = Answered()
        await api.application(creating(api), receive, answered.send)
        assert answered[0]["status"] == 408
        headers = msgspec.convert(answered[0]["headers"], list[tuple[bytes, bytes]])
        assert (b"connection", b"close") in headers


# Whoever stands still for a second is late for these servers, and rightly so.
in_time = pytest.mark.forgives_stalls


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[EmbeddedServer]:
    folder: Path = tmp_path_factory.mktemp("limits")
    settings = Settings(
        database_url=f"sqlite:///{folder / 'limits.db'}",
        header_timeout=1,
        idle_timeout=2,
        body_timeout=1,
        discover=False,
        grace=1,
    )
    with embedded(settings=settings, models=ScriptedModels()) as running:
        yield running


@asynccontextmanager
async def connected(server: EmbeddedServer) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, of which nothing is left when the context ends, also where it has more to send."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _talk(server: EmbeddedServer, *parts: bytes, pause: float = 0.0) -> bytes:
    async with connected(server) as (reader, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(60):
            return await reader.read()


async def test_a_connection_that_sends_nothing_is_closed(server: EmbeddedServer) -> None:
    assert await _talk(server) == b""


async def test_a_head_that_does_not_end_is_408(server: EmbeddedServer) -> None:
    answer = await _talk(server, b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"TIMEOUT"' in answer


@in_time
async def test_a_head_that_does_not_end_after_an_answer_is_408_too(server: EmbeddedServer) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = await _talk(server, whole, whole[:-2], pause=0.05)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answer


async def test_a_head_that_is_too_large_is_431(server: EmbeddedServer) -> None:
    answer = await _talk(server, b"GET /healthz HTTP/1.1\r\n" + b"x-long: " + b"y" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_what_is_no_http_is_400_in_json(server: EmbeddedServer) -> None:
    answer = await _talk(server, b"EHLO there\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"BAD_REQUEST"' in answer


async def test_a_body_in_broken_pieces_is_400(server: EmbeddedServer) -> None:
    head = b"POST /v1/conversation/complete HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
    body = b"transfer-encoding: chunked\r\n\r\nzz\r\n"
    answer = await _talk(server, head % server.secret.encode() + body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_body_that_stops_is_408_and_the_connection_closed(server: EmbeddedServer) -> None:
    head = f"POST /v1/conversation/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.secret}\r\n"
    answer = await _talk(server, head.encode() + b"content-length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer


@in_time
async def test_a_chunked_body_that_is_too_large_is_413(server: EmbeddedServer) -> None:
    head = f"POST /v1/conversation/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.secret}\r\n"
    chunk = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
    answer = await _talk(server, head.encode() + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 50, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_who_sends_too_much_gets_to_read_that_also_where_the_connection_ends(
    server: EmbeddedServer, connection: str
) -> None:
    async with connected(server) as (reader, writer):
        head = f"POST /v1/conversation/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.secret}\r\n"
        head += f"connection: {connection}\r\ncontent-length: 20000000\r\n\r\n"
        writer.write(head.encode())
        for _ in range(200):
            writer.write(b" " * 100_000)
            await writer.drain()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(60):
            answer = await reader.readuntil(b"}")
            assert answer.startswith(b"HTTP/1.1 413 ")
            if connection == "close":
                assert await reader.read() == b""


async def test_nobody_is_listened_to_for_long_who_was_answered(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnwise.server.connection.LINGER", 0.1)
    async with connected(server) as (reader, writer):
        head = f"POST /v1/conversation/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.secret}\r\n"
        writer.write(head.encode() + b"connection: close\r\ncontent-length: 20000000\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")

        async def send_on() -> None:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await send_on()


@in_time
async def test_an_idle_connection_is_closed_and_a_body_in_pieces_is_read(server: EmbeddedServer) -> None:
    head = f"POST /v1/conversation/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.secret}\r\n"
    answer = await _talk(server, head.encode() + b"content-length: 13\r\n\r\n", b'{"name"', b':"N"', b"} ", pause=0.02)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


@in_time
async def test_a_connection_is_kept_while_it_is_used_and_closed_when_it_was_idle_for_so_long(
    server: EmbeddedServer,
) -> None:
    async with connected(server) as (reader, writer):
        for _ in range(5):  # in all for longer than it may be idle
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.5)
        begun = time.monotonic()
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        assert time.monotonic() - begun > 1
