"""A load balancer as they are: a request goes to the next server in turn that takes connections, and to no other.

It keeps what went through it. So a test knows what clients were told, and what a server's death cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import aiohttp
from aiohttp import web
from tests.crash.proxy import Proxy
from yarl import URL

__all__ = ["Balancer", "Exchange", "Spreader"]

HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host"})
JUST_BEFORE: Final = 1.0
"""Seconds in which a connection to a server that was killed may still be found open."""
LARGEST: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class Exchange:
    """One request, and what came of it."""

    method: str
    path: str
    key: str
    """Its idempotency key; empty: it has none."""
    body: bytes
    port: int
    began: float
    status: int = 0
    answer: bytes = b""
    """As much as was passed on."""
    fate: Literal["open", "whole", "cut", "left"] = "open"
    """`cut`: its server went away; `left`: its client did."""

    def cut(self) -> dict[str, object]:
        """Return what is told of one that was cut."""
        told = {name: value for name, value in asdict(self).items() if name not in {"body", "answer"}}
        return {**told, "at": time.time(), "answered": len(self.answer)}


class Balancer:
    """Listens on a free port; a context manager. What deaths cut it writes to a file, a line of JSON each."""

    def __init__(self, ports: Sequence[int], cuts: Path) -> None:
        self._ports = list(ports)
        self._next = 0
        self._cuts = cuts
        self._killed: list[tuple[int, float]] = []
        self.exchanges: list[Exchange] = []
        self.strange: list[Exchange] = []
        """Those that were cut though nobody killed their server."""
        self.url = ""

    @property
    def cut(self) -> list[Exchange]:
        """Those whose server went away."""
        return [exchange for exchange in self.exchanges if exchange.fate == "cut"]

    def note_kill(self, port: int) -> None:
        """Note that the server on this port is killed now."""
        self._killed.append((port, time.time()))

    def _died(self, exchange: Exchange) -> bool:
        """Tell whether its server was killed while it went on, or just before, when its connection was made."""
        direct = {port for port, _ in self._killed} & set(self._ports)
        return any(
            at > exchange.began - JUST_BEFORE and (port == exchange.port or not direct) for port, at in self._killed
        )

    async def __aenter__(self) -> Self:
        self._cuts.touch()
        self._session = aiohttp.ClientSession(
            # A connection a request: a process that died takes no later request with it.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        application = web.Application(client_max_size=LARGEST)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1000).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def _in_turn(self) -> Iterator[int]:
        first, self._next = self._next, (self._next + 1) % len(self._ports)
        for place in range(len(self._ports)):
            yield self._ports[(first + place) % len(self._ports)]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP]
        for port in self._in_turn():
            key = request.headers.get("idempotency-key", "")
            exchange = Exchange(request.method, request.raw_path, key, body, port, time.time())
            url = URL(f"http://127.0.0.1:{port}{request.raw_path}", encoded=True)
            try:
                async with self._session.request(
                    request.method, url, headers=headers, data=io.BytesIO(body) if body else None, allow_redirects=False
                ) as response:
                    self.exchanges.append(exchange)
                    return await self._pass_on(request, exchange, response)
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, OSError):
                if exchange not in self.exchanges:
                    self.exchanges.append(exchange)
                return self._broken(request, exchange)
            except asyncio.CancelledError:
                exchange.fate = "left"
                raise
        return web.json_response(
            {"message": "No server takes connections.", "code": "SERVICE_UNAVAILABLE"},
            status=503,
            headers={"retry-after": "1"},
        )

    async def _pass_on(
        self, request: web.Request, exchange: Exchange, response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = [(name, value) for name, value in response.headers.items() if name.lower() not in HOP]
        answer = web.StreamResponse(status=response.status, headers=headers)
        exchange.status = response.status
        begun = False
        async for block in response.content.iter_any():
            if not begun:
                await self._begin(request, answer)
                begun = True
            with contextlib.suppress(ConnectionError):
                await answer.write(block)
            exchange.answer += block
        if not begun:
            await self._begin(request, answer)
        exchange.fate = "whole"
        if response.status == 502 and response.content_type == "text/html":  # nginx's own word, not a server's
            self._note_cut(exchange)
        with contextlib.suppress(ConnectionError):
            await answer.write_eof()
        return answer

    async def _begin(self, request: web.Request, answer: web.StreamResponse) -> None:
        with contextlib.suppress(ConnectionError):
            await answer.prepare(request)

    def _broken(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        """Tell of a server that went away; what has begun is cut, without an end."""
        self._note_cut(exchange)
        if exchange.answer and request.transport is not None:
            request.transport.abort()
            return web.Response()
        return web.json_response({"message": "The server went away.", "code": "BAD_GATEWAY"}, status=502)

    def _note_cut(self, exchange: Exchange) -> None:
        exchange.fate = "cut"
        if not self._died(exchange):
            self.strange.append(exchange)
            return
        with self._cuts.open("a") as file:
            file.write(json.dumps(exchange.cut()) + "\n")


class Spreader(Proxy):
    """A load balancer that knows nothing of HTTP: each connection goes to the next server that takes it, and stays."""

    async def _onward(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self.ports[1:]:
            with contextlib.suppress(ConnectionRefusedError):
                return await super()._onward()
        return await super()._onward()
