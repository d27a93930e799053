"""A scripted model server that speaks OpenAI's wire over a real socket.

    async with FakeUpstream(reply("We ", "open ", "at 9.")) as upstream:
        ...  # ask upstream.base_url; then look at upstream.requests

Each completion takes the next script, and the last one again when there are no more. Run as a program
(`python -m tests.server.models.upstream --tokens 50`) it prints its base URL and serves until it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, cast

REASONS: Final = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Wait:
    """Seconds of silence."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """Break the connection here; with `reset`, rudely."""

    reset: bool = False


Step = bytes | Wait | Cut


@dataclass(frozen=True)
class Script:
    """One answer: a head, then steps. Bytes travel as they are, each step in a chunk of its own.

    Without `chunked` the body ends with the connection; without `head` the bytes are all that is sent.
    """

    steps: Sequence[Step]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    chunked: bool = True
    head: bool = True

    def wire(self) -> list[Step]:
        """Return what to send, neighbouring bytes joined."""
        steps: list[Step] = [self._head()] if self.head else []
        for step in self.steps:
            sent = _chunk(step) if isinstance(step, bytes) and self.chunked and self.head else step
            if isinstance(sent, bytes) and steps and isinstance(steps[-1], bytes):
                steps[-1] += sent
            else:
                steps.append(sent)
        if any(isinstance(step, Cut) for step in self.steps):
            return steps
        return [*steps, b"0\r\n\r\n"] if self.chunked and self.head else [*steps, Cut()]

    def _head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append("Transfer-Encoding: chunked" if self.chunked else "Connection: close")
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> dict[str, object]:
        return cast("dict[str, object]", json.loads(self.body))


def event(data: object) -> bytes:
    """Return one server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def chunk(
    text: str | None = None, *, reasoning: str | None = None, finish: str | None = None, field: str = "reasoning"
) -> bytes:
    """Return the event of one `chat.completion.chunk`."""
    delta = {key: value for key, value in {"content": text, field: reasoning}.items() if value is not None}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def piece(
    arguments: str | None = None, *, name: str | None = None, id: str | None = None, index: int | None = 0
) -> dict[str, object]:
    """Return an element of `tool_calls`: a call, or a piece of one; what is `None` is left out."""
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    told = {"index": index, "id": id, "type": "function" if id else None, "function": function}
    return {key: value for key, value in told.items() if value is not None}


def calls(*pieces: Mapping[str, object], text: str | None = None, finish: str | None = None) -> bytes:
    """Return the event of a chunk that brings pieces of calls."""
    choice = {"index": 0, "delta": {"content": text, "tool_calls": list(pieces)}, "finish_reason": finish}
    return event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def calling(*called: tuple[str, str], text: str = "", finish: str = "tool_calls", first: int = 1) -> Script:
    """Return a reply that calls functions by (name, arguments), each in fragments, as OpenAI streams them.

    Their ids are `call_1`, `call_2` and so on, from `first`.
    """
    steps: list[Step] = [chunk(text)] if text else []
    for index, (name, arguments) in enumerate(called):
        steps.append(calls(piece("", name=name, id=f"call_{first + index}", index=index)))
        steps += [calls(piece(arguments[at : at + 5], index=index)) for at in range(0, len(arguments), 5)]
    return Script([*steps, chunk(finish=finish), usage(7, 3), DONE])


def usage(input_tokens: int, output_tokens: int) -> bytes:
    """Return the event that tells usage."""
    counts = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
    return event({"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": counts})


DONE: Final = event(b"[DONE]")


def reply(*tokens: str, finish: str = "stop", delay: float = 0.0, counts: tuple[int, int] | None = (7, 3)) -> Script:
    """Return a complete reply of `tokens`, with `delay` seconds before each."""
    steps: list[Step] = []
    for token in tokens:
        steps += [Wait(delay), chunk(token)] if delay else [chunk(token)]
    steps.append(chunk(finish=finish))
    steps += [usage(*counts), DONE] if counts else [DONE]
    return Script(steps)


def failure(
    status: int, message: str = "", *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Script:
    """Return an error in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": code}}).encode()
    return Script([body], status=status, headers={"Content-Type": "application/json", **(headers or {})})


def document(body: object, *, status: int = 200, content_type: str = "application/json") -> Script:
    """Return an answer that is one document."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Script([data], status=status, headers={"Content-Type": content_type})


class FakeUpstream:
    """The server; a context manager that listens on a free port of loopback, or on `port`."""

    def __init__(self, *scripts: Script, models: Script | Sequence[str] = ("m",), port: int = 0) -> None:
        self._wires = [script.wire() for script in scripts]
        if not isinstance(models, Script):
            models = document({"object": "list", "data": [{"id": name, "object": "model"} for name in models]})
        self._models = models.wire()
        self.port = port
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()
        self.requests: list[Request] = []
        self.connected = 0
        """How many connections were ever made."""
        self.asked = asyncio.Event()
        """Set by the first request."""
        self.disconnected = asyncio.Event()
        """Set when a client went away before its answer's end."""

    @property
    def base_url(self) -> str:
        """What `OPENAI_BASE_URL` is to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def completions(self) -> list[Request]:
        """The requests that asked a model."""
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        assert self._server is not None
        await self._server.serve_forever()

    def answer(self, request: Request) -> Sequence[Step]:
        """Record `request` and return the steps of its answer."""
        self.requests.append(request)
        self.asked.set()
        if request.method == "GET" and request.path.endswith("/models"):
            return self._models
        if request.method != "POST" or not request.path.endswith("/chat/completions"):
            return failure(404, f"no such path: {request.path}").wire()
        return self._wires.pop(0) if len(self._wires) > 1 else self._wires[0]


class Connection(asyncio.Protocol):
    """Reads requests of one connection and plays their scripts, one after another."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._upstream.connections.add(self)
        self._upstream.connected += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections.discard(self)
        if self._playing is not None:
            self._playing.cancel()
            self._upstream.disconnected.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received[:1].isalpha():  # a TLS handshake, say
            self._write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self._end(reset=False)
            return
        request = self._next_request()
        if request is None:
            return
        steps = self._upstream.answer(request)
        if request.headers.get("connection") == "close":
            steps = [*steps, Cut()]
        if len(steps) == 1 and isinstance(steps[0], bytes):
            self._write(steps[0])
        else:
            self._playing = asyncio.get_running_loop().create_task(self._play(steps))

    def abort(self) -> None:
        """End the connection; a script that is being played is not a client that went away."""
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None
        if self._transport is not None:
            self._transport.abort()

    async def _play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case bytes():
                    self._write(step)
                    await asyncio.sleep(0)
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                case Cut(reset):
                    self._playing = None
                    self._end(reset=reset)
                    return
        self._playing = None

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self, *, reset: bool) -> None:
        assert self._transport is not None
        if reset:
            self._transport.abort()
        else:
            self._transport.close()

    def _next_request(self) -> Request | None:
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return None
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._received = rest[length:]
        method, path, _ = start.split(" ", 2)
        return Request(method, path, headers, rest[:length])


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n" if data else b""


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each token")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    tokens = [f" word{number}" for number in range(given.tokens)]
    async with FakeUpstream(reply(*tokens, delay=given.delay), port=given.port) as upstream:
        print(upstream.base_url, flush=True)  # noqa: T201 - whoever started it reads where it is
        await upstream.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
