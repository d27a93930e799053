"""One HTTP exchange: what came in, read once and within limits, and the way an answer goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec

from turnwise.server.errors import BadRequest, ContentTooLarge, RequestTimeout
from turnwise.server.ids import Clock
from turnwise.server.negotiate import Form
from turnwise.server.principal import Principal, SessionPrincipal
from turnwise.server.services.idempotency import KeyedRequest, hash_body
from turnwise.server.services.meter import UNMETERED, Meter

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["WHOLE", "Disconnected", "Frame", "Header", "HttpExchange", "Limits", "Whole"]

T = TypeVar("T")

Header = tuple[bytes, bytes]

JSON_TYPE: Final = b"application/json"
LONGEST_KEY: Final = 255

WHOLE: Final = "turnwise.whole"
"""Where an ASGI scope holds a `Whole`, if the whole request is here. Without one, ASGI's messages do the same."""


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Whole(Protocol):
    """A request that is here as a whole, and may be answered as a whole."""

    def body(self) -> bytes | None:
        """Take the body; `None` where the client is gone already."""
        ...

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Send an answer; `False` where ASGI's messages must do it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a request."""

    body_bytes: int = 4_500_000
    body_timeout: float = 30.0
    """Seconds in which the whole body must have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all exchanges have in common."""

    limits: Limits
    clock: Clock
    elapsed: Callable[[], float]
    """Returns seconds, of which only differences mean anything."""


class HttpExchange:
    """A request with its answer."""

    __slots__ = (
        "_common",
        "_frame",
        "_send",
        "begun_at",
        "form",
        "headers",
        "meter",
        "path",
        "principal",
        "receive",
        "request_id",
        "route",
        "scope",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        headers: dict[bytes, bytes],
        path: str,
        request_id: str,
        common: Sequence[Header],
        frame: Frame,
    ) -> None:
        """`common` are the headers that every answer to this request has."""
        self.scope = scope
        self.receive = receive
        self.headers = headers
        """By names in lower case."""
        self.path = path
        """As requested, without the prefix `/api`."""
        self.request_id = request_id
        self.route = ""
        """The template of the path, once it was recognised."""
        self.status = 0
        """The answer's status, once it has begun."""
        self.begun_at: float | None = None
        """When a streamed answer began, by the clock `elapsed`."""
        self.form = Form.JSON
        self.principal: Principal | None = None
        self.meter: Meter = UNMETERED
        """What the request is counted by."""
        self._send = send
        self._common = common
        self._frame = frame

    # What came in

    @property
    def account_id(self) -> str:
        """Whose data this is about. Only on operations that ask for authentication."""
        return self.known_principal.account_id

    @property
    def known_principal(self) -> Principal:
        """Who asks. Only on operations that ask for authentication."""
        if self.principal is None:
            message = "this operation does not know who asks"
            raise RuntimeError(message)
        return self.principal

    @property
    def in_session(self) -> bool:
        """Whether a session token was sent, not a secret."""
        return isinstance(self.principal, SessionPrincipal)

    @property
    def conversation_id(self) -> str:
        """The conversation that the path names."""
        return self.path_id("conversationId")

    @property
    def message_id(self) -> str:
        """The message that the path names."""
        return self.path_id("messageId")

    def path_id(self, name: str) -> str:
        """Return what stands in the path for a variable of its template."""
        ids: dict[str, str] = self.scope["path_params"]
        return ids[name]

    def query(self) -> dict[str, str]:
        """Return the query's parameters; the last one of a name counts."""
        query: bytes = self.scope["query_string"]
        return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}

    async def body(self) -> bytes:
        """Return the body, `{}` where it is empty. Raises `ContentTooLarge`, `RequestTimeout`, `Disconnected`."""
        whole: Whole | None = self.scope.get(WHOLE)
        if whole is not None:  # a timer for each request costs as much as decoding it
            body = whole.body()
            if body is None:
                raise Disconnected
        else:
            declared = self.headers.get(b"content-length", b"0")
            if len(declared) > 12 or (declared.isdigit() and int(declared) > self._frame.limits.body_bytes):
                raise self._too_large()
            try:
                async with asyncio.timeout(self._frame.limits.body_timeout):
                    body = await self._whole()
            except TimeoutError:
                seconds = self._frame.limits.body_timeout
                raise RequestTimeout(
                    f"The request's body did not arrive within {seconds:g} seconds. Send it again."
                ) from None
        if len(body) > self._frame.limits.body_bytes:
            raise self._too_large()
        return body if body and not body.isspace() else b"{}"

    async def read(self, decoder: msgspec.json.Decoder[T]) -> tuple[T, KeyedRequest | None]:
        """Return the body, decoded, and the request's idempotency key, if it has one."""
        body = await self.body()
        try:
            decoded = decoder.decode(body)
        except msgspec.ValidationError as error:
            raise BadRequest(_located(str(error))) from None
        except msgspec.DecodeError as error:
            raise BadRequest(f"$: the body is not JSON: {error}. Send one JSON object.") from None
        except UnicodeDecodeError as error:
            raise BadRequest(f"$: the body is not UTF-8: {error.reason} at byte {error.start} of a string.") from None
        except RecursionError:
            raise BadRequest("$: the body is nested too deeply.") from None
        return decoded, self._keyed(body)

    def _keyed(self, body: bytes) -> KeyedRequest | None:
        key = self.headers.get(b"idempotency-key")
        if key is None:
            return None
        if not 0 < len(key) <= LONGEST_KEY or not key.isascii():
            raise BadRequest(f"Idempotency-Key: expected 1 to {LONGEST_KEY} ASCII characters, such as a random UUID.")
        return KeyedRequest(path=self.path, key=key.decode(), body=hash_body(body), now=self._frame.clock())

    async def _whole(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body: bytes = message.get("body", b"")
        return await self._rest(body) if message.get("more_body", False) else body

    async def _rest(self, first: bytes) -> bytes:
        parts = [first]
        size = len(first)
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._frame.limits.body_bytes:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> ContentTooLarge:
        return ContentTooLarge(
            f"The request's body is larger than {self._frame.limits.body_bytes:,} bytes. Send less at once."
        )

    # What goes out

    def add_headers(self, headers: Sequence[Header]) -> None:
        """Give the answer these headers too, whatever it becomes."""
        self._common = (*self._common, *headers)

    async def answer(
        self, body: bytes, *, status: int = 200, content_type: bytes = JSON_TYPE, headers: Sequence[Header] = ()
    ) -> None:
        """Send a whole answer."""
        self.status = status
        head = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *self._common, *headers]
        whole: Whole | None = self.scope.get(WHOLE)
        if whole is None or not whole.answer(status, head, body):
            await self._send({"type": "http.response.start", "status": status, "headers": head})
            await self._send({"type": "http.response.body", "body": body})

    async def begin(self, content_type: bytes) -> None:
        """Begin an answer of unknown length."""
        self.status = 200
        self.begun_at = self._frame.elapsed()
        headers = [
            (b"content-type", content_type),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *self._common,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def chunk(self, body: bytes, *, more: bool) -> None:
        """Send a piece of the answer that was begun; the last one where there are no `more`."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _located(error: str) -> str:
    """Put the path of the field first, with the field itself where one is missing."""
    problem, _, path = error.partition(" - at `")
    path = path.rstrip("`") or "$"
    missing = "Object missing required field `"
    if problem.startswith(missing):
        return f"{path}.{problem[len(missing) : -1]}: this field is required."
    return f"{path}: {problem}."
