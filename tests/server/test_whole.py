from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import pytest
import uvicorn
from tests.server.asgi import ScriptedModels
from uvicorn.server import ServerState

from turnwise.server.app import Adapters, create_app
from turnwise.server.connection import BoundedProtocol
from turnwise.server.exchange import WHOLE, Header, HttpExchange, Whole
from turnwise.server.settings import Settings
from turnwise.server.storage.open import storage_at

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send


class Wire:
    """A connection's other side."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        self.state = ServerState()
        self.sent: list[bytes] = []
        self.closed = False
        self.protocol = BoundedProtocol(config=config, server_state=self.state, app_state={})
        self.protocol.connection_made(cast("asyncio.Transport", self))

    async def ask(self, request: bytes, *, turns: int = 20) -> bytes:
        """Send bytes, let the loop turn, and return what came back since."""
        begin = len(self.sent)
        self.protocol.data_received(request)
        for _ in range(turns):
            await asyncio.sleep(0)
        return b"".join(self.sent[begin:])

    # What a transport does

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, _name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def answering(answer: Callable[[Whole, bytes], bool]) -> ASGIApp:
    """Return an application that asks for the whole request, and answers as ASGI has it where it is told to."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        whole: Whole = scope[WHOLE]
        body = whole.body()
        assert body is not None
        if not answer(whole, body):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"ASGI"})

    return app


def told(whole: Whole, body: bytes) -> bool:
    return whole.answer(200, head(body), body)


def head(body: bytes, *more: Header) -> Sequence[Header]:
    return [(b"content-length", b"%d" % len(body)), *more]


def request(body: bytes = b"hello", *, method: bytes = b"POST", headers: bytes = b"") -> bytes:
    return b"%b / HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (method, headers, len(body), body)


async def test_a_whole_answer_is_one_write() -> None:
    wire = Wire(answering(told))
    wire.state.default_headers = [(b"date", b"today")]
    assert await wire.ask(request()) == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\n\r\nhello"
    assert len(wire.sent) == 1
    wire.state.default_headers = [(b"date", b"tomorrow")]
    assert b"date: tomorrow\r\n" in await wire.ask(request())


async def test_requests_that_come_at_once_are_answered_one_by_one() -> None:
    wire = Wire(answering(told))
    answers = await wire.ask(request(b"one") + request(b"two") + request(b"three"))
    assert [part.split(b"HTTP/1.1", maxsplit=1)[0] for part in answers.split(b"\r\n\r\n")[1:]] == [
        b"one",
        b"two",
        b"three",
    ]


@pytest.mark.parametrize(
    "asked", [request(headers=b"connection: close\r\n"), request(method=b"HEAD"), request().replace(b"1.1", b"1.0")]
)
async def test_what_is_not_as_simple_is_left_to_uvicorn(asked: bytes) -> None:
    wire = Wire(answering(told))
    assert (await wire.ask(asked)).endswith(b"\r\n\r\n" if asked.startswith(b"HEAD") else b"ASGI")


async def test_a_server_that_stops_ends_the_connection_with_the_answer() -> None:
    wire = Wire(answering(told))
    wire.state.default_headers = [(b"connection", b"close")]
    assert b"connection: close\r\n" in await wire.ask(request())
    assert wire.closed


async def test_nothing_is_sent_where_a_header_would_end_early() -> None:
    def answer(whole: Whole, body: bytes) -> bool:
        with pytest.raises(RuntimeError, match="end of a line"):
            whole.answer(200, head(body, (b"x-request-id", b"1\r\nset-cookie: all")), body)
        return False

    assert (await Wire(answering(answer)).ask(request())).endswith(b"ASGI")


async def test_a_request_without_a_reader_is_neither_read_nor_answered() -> None:
    seen: list[bytes | None] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)
        whole: Whole = scope[WHOLE]
        seen.append(whole.body())
        assert not whole.answer(200, (), b"")

    wire = Wire(app)
    wire.protocol.data_received(request())
    await asyncio.sleep(0)
    wire.protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert seen == [None]
    assert wire.sent == []


async def test_what_a_request_was_made_of_is_free_once_it_is_answered(tmp_path: Path) -> None:
    storage = storage_at(f"sqlite:///{tmp_path / 'whole.db'}")
    application = create_app(Settings(), Adapters(storage=storage, models=ScriptedModels()))
    await application.open()
    wire = Wire(application)
    gc.collect()
    gc.disable()
    try:
        assert (await wire.ask(request(b"{}"))).startswith(b"HTTP/1.1 404")
        assert [each for each in gc.get_objects() if isinstance(each, HttpExchange)] == []
    finally:
        gc.enable()
        await application.close()
