"""Test your own code without a server: a transport that answers from a script.

    >>> from turnwise import ConversationClient
    >>> from turnwise.testing import ScriptedTransport, reply
    >>> script = ScriptedTransport()
    >>> script.answer("POST", "/api/v1/conversation/create", json={"id": "c1"})
    >>> script.answer("POST", "/api/v1/conversation/*/complete", events=reply("Nine to five."))
    >>> client = ConversationClient(secret="test", http_client=script)
    >>> conversation = client.create(backstory="We open at nine.")
    >>> with client.complete_stream(conversation.id, text="When do you open?") as stream:
    ...     print([event.data.token for event in stream if event.type == "token"])
    ['Nine ', 'to ', 'five.']
    >>> script.requests[-1].json
    {'text': 'When do you open?'}
    >>> script.assert_done()

One script serves synchronous and asynchronous clients alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

import msgspec

from turnwise._call import Timeout
from turnwise._errors import ConnectionLost, IdleTimeout, TimedOutError, TotalTimeout, TurnwiseError
from turnwise._transport.base import WireRequest
from turnwise.types._base import OMIT, Omit

__all__ = [
    "JsonObject",
    "Pause",
    "ScriptedTransport",
    "SentRequest",
    "error",
    "event",
    "item",
    "message",
    "reasoning_token",
    "reply",
    "result",
    "token",
]

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Pause:
    """Among events: nothing comes for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request that a client sent."""

    method: str
    path: str
    """As it was sent: under the hosted origin without the leading `/api`."""
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes | None

    @property
    def json(self) -> object:
        """The body's JSON value; `None` without a body."""
        value: object = msgspec.json.decode(self.body) if self.body else None
        return value


@dataclass(slots=True)
class _Answer:
    method: str
    path: str
    status: int
    headers: dict[str, str]
    parts: list[bytes | Pause | TurnwiseError]
    delay: float
    left: float
    error: TurnwiseError | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"{self.method} {self.path}"

    def fits(self, request: SentRequest) -> bool:
        if not self.left or self.method not in {"*", request.method}:
            return False
        return fnmatchcase(_bare(request.path), _bare(self.path))


class ScriptedTransport:
    """Answers requests from a script, and keeps what was sent in `requests`. Pass it as `http_client=`."""

    def __init__(self) -> None:
        self.requests: list[SentRequest] = []
        self._answers: list[_Answer] = []
        self._lock = threading.Lock()

    def answer(
        self,
        method: str = "*",
        path: str = "*",
        *,
        json: object | Omit = OMIT,
        events: Iterable[JsonObject | Pause] | None = None,
        body: bytes = b"",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        error: TurnwiseError | None = None,
        cut: bool = False,
        split: int | None = None,
        times: int | None = 1,
    ) -> None:
        """Add an answer. A request gets the first answer that fits and is not used up.

        Args:
            method: The method it is for; any unless given.
            path: The path it is for; `*` stands for anything. Any unless given.
            json: The answer's JSON value.
            events: The events of a streamed answer, see `token`, `result` and the others; `Pause` keeps them waiting.
            body: The answer's bytes, where it is neither of these.
            status: The HTTP status.
            headers: Further headers.
            delay: Seconds until the answer begins. More than the call's time limit raises that limit's error at once.
            error: Raised in place of an answer, for example `ConnectError("refused")`.
            cut: Whether the connection breaks at the end of what is given.
            split: Deliver the bytes in pieces of this size, as a slow network might.
            times: How often it may be used; `None` is without end.
        """
        parts, kind = _parts(json, events, body)
        if split is not None:
            parts = list(_split(parts, split))
        if cut:
            parts.append(ConnectionLost("The connection broke, as the script says"))
        all_headers = {"content-type": kind, "x-request-id": f"scripted-{len(self._answers) + 1}"}
        all_headers.update((name.lower(), value) for name, value in (headers or {}).items())
        left = float("inf") if times is None else times
        self._answers.append(_Answer(method, path, status, all_headers, parts, delay, left, error))

    def assert_done(self) -> None:
        """Fail unless every answer was used as often as it was given."""
        unused = [answer.name for answer in self._answers if 0 < answer.left < float("inf")]
        if unused:
            raise AssertionError(f"These answers were never asked for: {', '.join(unused)}")

    def send(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> ScriptedResponse:  # noqa: ARG002 - the port's
        """Answer a synchronous client."""
        answer = self._take(request)
        _wait(answer.delay, timeout)
        return ScriptedResponse(answer, timeout)

    async def asend(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> ScriptedResponse:  # noqa: ARG002 - the port's
        """Answer an asynchronous client."""
        answer = self._take(request)
        await _await(answer.delay, timeout)
        return ScriptedResponse(answer, timeout)

    def close(self) -> None:
        """Nothing is open."""

    async def aclose(self) -> None:
        """Nothing is open."""

    def _take(self, request: WireRequest) -> _Answer:
        query = dict(parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
        sent = SentRequest(request.method, request.path, query, dict(request.headers), request.body)
        with self._lock:
            self.requests.append(sent)
            answer = next((answer for answer in self._answers if answer.fits(sent)), None)
            if answer is None:
                left = [answer.name for answer in self._answers if answer.left] or ["none"]
                raise AssertionError(
                    f"No answer is scripted for {sent.method} {sent.path}; left are: {', '.join(left)}. Add one with "
                    f"answer({sent.method!r}, {sent.path!r}, ...)"
                )
            answer.left -= 1
        if answer.error is not None:
            raise answer.error
        return answer


class ScriptedResponse:
    """An answer from the script."""

    def __init__(self, answer: _Answer, timeout: Timeout) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._parts = answer.parts
        self._timeout = timeout
        self.closed = False

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, waiting where the script says so."""
        for part in self._parts:
            if isinstance(part, Pause):
                _wait(part.seconds, self._timeout)
            else:
                yield self._piece(part)

    async def aread(self) -> bytes:
        """Return the whole body."""
        return b"".join([part async for part in self.achunks()])

    async def achunks(self) -> AsyncIterator[bytes]:
        """Yield the body, waiting where the script says so."""
        for part in self._parts:
            if isinstance(part, Pause):
                await _await(part.seconds, self._timeout)
            else:
                yield self._piece(part)

    def close(self) -> None:
        """Nobody reads on."""
        self.closed = True

    def _piece(self, part: bytes | TurnwiseError) -> bytes:
        if self.closed:
            raise ConnectionLost("The answer was closed")
        if isinstance(part, TurnwiseError):
            raise part
        return part


def event(type: str, data: object | Omit = OMIT, **more: object) -> JsonObject:
    """Return an event of any type."""
    return {"type": type, "data": {} if data is OMIT else data, **more}


def token(text: str) -> JsonObject:
    """Return an event that brings a piece of the reply."""
    return event("token", {"token": text})


def reasoning_token(text: str) -> JsonObject:
    """Return an event that brings a piece of the model's reasoning."""
    return event("reasoningToken", {"token": text})


def message(text: str, type: str = "bot") -> JsonObject:
    """Return an event that brings a finished message."""
    return event("message", {"type": type, "text": text})


def item(data: JsonObject) -> JsonObject:
    """Return an event that brings an item of a list."""
    return event("item", data)


def result(data: JsonObject) -> JsonObject:
    """Return the last event of a stream."""
    return event("result", data)


def error(message: str, code: str) -> JsonObject:
    """Return an event that says the operation failed."""
    return event("error", {"message": message, "code": code})


def reply(text: str, *, id: str = "message-1", tokens: int = 1, reason: str = "stop") -> list[JsonObject]:
    """Return the events of a completion that answers `text`, word by word."""
    return [
        event("completeBegin"),
        *(token(word) for word in _words(text)),
        message(text),
        event("completeEnd"),
        result({"id": id, "text": text, "usage": {"token": tokens}, "end": {"reason": reason}}),
    ]


def _words(text: str) -> list[str]:
    """The words with the space after them, so that they add up to the text."""
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:]


def _parts(
    json: object | Omit, events: Iterable[JsonObject | Pause] | None, body: bytes
) -> tuple[list[bytes | Pause | TurnwiseError], str]:
    if events is not None:
        return [
            each if isinstance(each, Pause) else msgspec.json.encode(each) + b"\n" for each in events
        ], "application/jsonl"
    if json is not OMIT:
        return [msgspec.json.encode(json)], "application/json"
    return [body], "application/octet-stream"


def _split(parts: list[bytes | Pause | TurnwiseError], size: int) -> Iterator[bytes | Pause | TurnwiseError]:
    for part in parts:
        if isinstance(part, bytes):
            yield from (part[begin : begin + size] for begin in range(0, len(part), size))
        else:
            yield part


def _limit(seconds: float, timeout: Timeout) -> TimedOutError | None:
    if timeout.idle is not None and seconds > timeout.idle:
        return IdleTimeout(f"The script is silent for {seconds:g} s, longer than {timeout.idle:g} s")
    if timeout.total is not None and seconds > timeout.total:
        return TotalTimeout(f"The script is silent for {seconds:g} s, longer than {timeout.total:g} s in all")
    return None


def _wait(seconds: float, timeout: Timeout) -> None:
    limit = _limit(seconds, timeout)
    if limit is not None:
        raise limit
    time.sleep(seconds)


async def _await(seconds: float, timeout: Timeout) -> None:
    import asyncio

    limit = _limit(seconds, timeout)
    if limit is not None:
        raise limit
    await asyncio.sleep(seconds)


def _bare(path: str) -> str:
    """The path without `/api`, which the hosted origin leaves out."""
    return path[4:] if path.startswith("/api/") else path
