"""The application, asked without a socket, over models that do as they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import msgspec

from turnwise.server.app import Application
from turnwise.server.errors import BadRequest
from turnwise.server.models.base import (
    Delta,
    Finish,
    ModelError,
    Prompt,
    ReasoningDelta,
    TextDelta,
)
from turnwise.server.models.registry import ModelRegistry, ResolvedModel, parse_model

FINISH = Finish(reason="stop", input_tokens=7, output_tokens=3)
EVENTS = msgspec.json.Decoder(dict[str, object])
MODELS = ("echo", "thinks", "slow", "silent", "refuses", "breaks")


class ScriptedModel:
    """A model whose name says what it does."""

    context_window = 8000

    def __init__(self, name: str) -> None:
        self.name = name
        self.prompts: list[Prompt] = []
        self.closed = asyncio.Event()
        """Set when an answer was broken off."""
        self.waits = asyncio.Event()
        """Set when all was said that is said before it may go on."""
        self.go_on = asyncio.Event()

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        self.prompts.append(prompt)
        try:
            match self.name:
                case "echo":
                    yield [TextDelta("You "), TextDelta("said: ")]
                    yield [TextDelta(prompt.messages[-1].text if prompt.messages else "nothing")]
                    yield [FINISH]
                case "thinks":
                    yield [ReasoningDelta("Hm…")]
                    yield [TextDelta("Grüße 😀"), FINISH]
                case "slow":
                    yield [TextDelta("Well")]
                    self.waits.set()
                    await self.go_on.wait()
                    yield [TextDelta(", yes"), FINISH]
                case "silent":
                    self.waits.set()
                    await self.go_on.wait()
                    yield [TextDelta("At last"), FINISH]
                case "refuses":
                    raise ModelError("The model is busy.", status=429, code="TOO_MANY_REQUESTS", retry_after=7)
                case _:
                    yield [TextDelta("Half a")]
                    raise ModelError("The model broke off.", status=502, code="BAD_GATEWAY")
        except (asyncio.CancelledError, GeneratorExit):
            self.closed.set()
            raise


class ScriptedModels(ModelRegistry):
    """All scripted models; `echo` is the default."""

    def __init__(self) -> None:
        super().__init__()
        self.scripted = {name: ScriptedModel(name) for name in MODELS}

    @property
    def default(self) -> str:
        return "echo"

    async def resolve(self, model: str | None) -> ResolvedModel:
        name, config = parse_model(model or self.default)
        if name not in self.scripted:
            raise BadRequest(f"There is no model {name!r}. Configured: {', '.join(MODELS)}.")
        return ResolvedModel(self.scripted[name], config)


@dataclass
class Reply:
    """An answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    chunks: list[bytes] = field(default_factory=list[bytes])
    complete: bool = False
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the client takes what comes."""

    def __post_init__(self) -> None:
        self.reading.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def id(self) -> str:
        return str(self.json["id"])

    @property
    def code(self) -> object:
        return self.json["code"]

    @property
    def message(self) -> str:
        return str(self.json["message"])

    @property
    def items(self) -> list[dict[str, object]]:
        return msgspec.convert(self.json["items"], list[dict[str, object]])

    @property
    def events(self) -> list[dict[str, object]]:
        return EVENTS.decode_lines(self.body) if self.body else []

    def data(self, index: int) -> dict[str, object]:
        """Return the data of an event."""
        return msgspec.convert(self.events[index]["data"], dict[str, object])

    @property
    def types(self) -> list[object]:
        return [event["type"] for event in self.events]


class Api:
    """Asks an application."""

    def __init__(self, application: Application, secret: str, models: ScriptedModels) -> None:
        self.application = application
        self.secret = secret
        self.models = models

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        secret: str | None = None,
        accept: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        parts: Sequence[bytes] = (),
        leave: asyncio.Event | None = None,
        reply: Reply | None = None,
    ) -> Reply:
        """Ask and read the whole answer. `leave` says when the client goes away; `reply` can be watched meanwhile."""
        sent = {**(headers or {})}
        if (secret is None and "authorization" not in sent) or secret:
            sent["authorization"] = f"Bearer {secret or self.secret}"
        if accept is not None:
            sent["accept"] = accept
        if key is not None:
            sent["idempotency-key"] = key
        if not parts and body is not None:
            parts = [body if isinstance(body, bytes) else json.dumps(body).encode()]
        bare, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": bare,
            "raw_path": bare.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        answer = reply if reply is not None else Reply()
        await self.application(scope, _Client(parts, leave), _into(answer))
        return answer

    async def get(self, path: str, *, accept: str | None = None, secret: str | None = None) -> Reply:
        return await self("GET", f"/api/v1{path}", accept=accept, secret=secret)

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        accept: str | None = None,
        secret: str | None = None,
        key: str | None = None,
    ) -> Reply:
        return await self("POST", f"/api/v1{path}", body, accept=accept, secret=secret, key=key)

    async def conversation(self, **fields: object) -> str:
        """Make a conversation and return its id."""
        reply = await self.post("/conversation/create", fields)
        assert reply.status == 200, reply.text
        return reply.id

    async def token(self, conversation_id: str, **fields: object) -> str:
        """Make a session token."""
        reply = await self.post(f"/conversation/{conversation_id}/session/create", fields)
        assert reply.status == 200, reply.text
        return str(reply.json["token"])

    async def texts(self, conversation_id: str) -> list[tuple[object, object]]:
        """Return type and text of the stored messages."""
        reply = await self.get(f"/conversation/{conversation_id}/message/list")
        return [(item["type"], item["text"]) for item in reply.items]

    async def heard(self, channel: str) -> list[dict[str, object]]:
        """Return the events of a dispatch, up to the last."""
        reply, leave = Reply(), asyncio.Event()
        path = f"/api/v1/channel/{channel}/subscribe"
        asking = self("POST", path, {"historyLength": 1000}, accept="application/jsonl", leave=leave, reply=reply)
        listening = asyncio.create_task(asking)
        events: list[dict[str, object]] = []
        try:
            async with asyncio.timeout(60):
                while not events or events[-1]["type"] not in {"result", "error"}:
                    await asyncio.sleep(0.01)
                    told = [each["data"] for each in reply.events if each["type"] == "message"]
                    events = msgspec.convert(told, list[dict[str, object]])
        finally:
            leave.set()
            await listening
        return events


class _Client:
    """Sends the parts of a body, then stays until it leaves."""

    def __init__(self, parts: Sequence[bytes], leave: asyncio.Event | None) -> None:
        self._parts = list(parts) or [b""]
        self._leave = leave or asyncio.Event()

    async def __call__(self) -> dict[str, object]:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self._leave.wait()
        return {"type": "http.disconnect"}


def _into(reply: Reply) -> Callable[[MutableMapping[str, object]], Awaitable[None]]:
    async def send(message: Mapping[str, object]) -> None:
        await reply.reading.wait()
        if message["type"] == "http.response.start":
            assert not reply.status, "an answer begins once"
            reply.status = msgspec.convert(message["status"], int)
            pairs = msgspec.convert(message["headers"], list[tuple[bytes, bytes]])
            reply.headers = {name.decode(): value.decode() for name, value in pairs}
        else:
            assert not reply.complete, "an answer ends once"
            reply.chunks.append(msgspec.convert(message.get("body", b""), bytes))
            reply.complete = not message.get("more_body", False)

    return send
