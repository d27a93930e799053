"""Work in the background, followed on its channel: what to do next, without doing it.

That is: dispatch, subscribe, read, wait, subscribe again after the last message seen. Messages that carry no number, as
the hosted service's, are asked for from the first one again after a break, and those that were seen are counted off.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Generic, TypeVar, cast

import msgspec

from turnwise._call import Call, CallOptions, StreamCall
from turnwise._dispatch import DispatchStreamCall
from turnwise._errors import (
    ConnectionFailedError,
    DecodeError,
    StreamError,
    StreamInterrupted,
    TotalTimeout,
    TurnwiseError,
)
from turnwise._lines import LineBuffer
from turnwise._options import ClientOptions
from turnwise._retry import RetryPolicy
from turnwise._streaming import Transcript, _message_and_code
from turnwise.types.channel import ChannelSubscribeRequest
from turnwise.types.conversation import DispatchResult
from turnwise.types.event import AttemptEvent, ChannelEvent, Event, MessageEvent, UnknownEvent

__all__ = ["Answer", "Dispatch", "Following", "Read", "Step", "Tell", "Wait"]

T = TypeVar("T")
R = TypeVar("R")

RECONNECTIONS = 10
"""In a row, each of which brought nothing; the waits between them add up to two minutes."""
HISTORY = 10_000
"""As many old messages as a channel gives."""


class _Line(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    seq: int | None = None


class _Published(msgspec.Struct, frozen=True):
    type: str


_line = msgspec.json.Decoder(_Line)
_published = msgspec.json.Decoder(_Published)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Perform `call`, and come back with its result or its error."""

    call: Call[DispatchResult]


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Connect `call`, and come back when its answer begins."""

    call: StreamCall[ChannelEvent, None]


@dataclass(frozen=True, slots=True)
class Read:
    """Come back with the next block of the answer; `None` at its end."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait before connecting again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell(Generic[T]):
    """Pass these events on."""

    events: Iterator[T]


Step = Dispatch | Subscribe | Read | Wait
READ = Read()
Answer = DispatchResult | bytes | None


class Following(Transcript[T, R]):
    """What has come of work in the background, and what to do to hear the rest of it."""

    def _begin(self, call: DispatchStreamCall[T, R], options: ClientOptions) -> None:
        """Begin with nothing seen. No constructor: streams have their own."""
        self._call = call
        self._channel: str | None = None
        self._seq = 0
        self._count = 0
        self._known = 0
        self._settled = 0
        self._ended = False
        self._faded = False
        own = call.options.get("retries")
        self._policy = RetryPolicy(
            retries=max(RECONNECTIONS, options.retries) if own is None else own,
            delay=options.retry_delay,
            timeouts=options.retry_timeout,
        )
        self._steps = self._follow()

    @property
    def channel_id(self) -> str | None:
        """The channel of the work, once it was dispatched: whoever follows it gets the same events."""
        return self._channel

    @property
    def seq(self) -> int | None:
        """The number of the last message seen, where the server numbers them."""
        return self._seq or None

    def _next_step(self, answer: Answer, problem: TurnwiseError | None = None) -> Step | Tell[T] | None:
        """Tell how the last step went; return the next one, `None` after the last."""
        try:
            return self._steps.send(answer) if problem is None else self._steps.throw(problem)
        except StopIteration:
            return None

    def _follow(self) -> Generator[Step | Tell[T], Any, None]:
        attempt = 0
        channel: str | None = None
        while self._unfinished():
            try:
                if channel is None:
                    answer: DispatchResult = yield Dispatch(self._dispatch())
                    self._channel = channel = answer.channel_id
                    self._ended = answer.ended_at is not None
                yield Subscribe(self._subscription(channel))
                self._known = 0 if self._seq else self._count
                self._lines = LineBuffer()
                yield Tell(iter(()))
                while self._unfinished() and (block := (yield READ)) is not None:
                    for lines in self._unwrapped(self._lines.feed(block)):
                        attempt = 0
                        yield Tell(self._heard(self._decoder.decode(lines)))
                problem: TurnwiseError = self._interrupted("The subscription ended before the result came")
            except TurnwiseError as error:
                problem = error
            if self._unfinished():
                yield Wait(self._patience(attempt, problem))
                attempt += 1

    def _unfinished(self) -> bool:
        return not (self._done or self._closed)

    def _patience(self, attempt: int, problem: TurnwiseError) -> float:
        """Return how long to wait before the next attempt, or raise why there is none."""
        cut = isinstance(problem, StreamInterrupted) and not self._faded
        wanted = (cut or self._policy.wants(problem)) and not isinstance(problem, TotalTimeout)
        if wanted and attempt < self._policy.retries:
            return self._policy.wait(attempt, problem)
        if self._info is not None and isinstance(problem, ConnectionFailedError):
            raise self._interrupted(problem.message) from problem
        raise problem

    def _dispatch(self) -> Call[DispatchResult]:
        call = self._call
        return Call(
            method=call.method,
            path=call.path,
            ids=call.ids,
            body=call.body,
            options={**call.options, "retries": 0},
            result=DispatchResult,
        )

    def _subscription(self, channel: str) -> StreamCall[ChannelEvent, None]:
        own = {name: value for name, value in self._call.options.items() if name in {"timeout", "extra_headers"}}
        return StreamCall(
            method="POST",
            path="/api/v1/channel/{channelId}/subscribe",
            ids=(channel,),
            body=ChannelSubscribeRequest(after=self._seq)
            if self._seq
            else ChannelSubscribeRequest(history_length=HISTORY),
            options=cast("CallOptions", {**own, "retries": 0}),
            events=ChannelEvent,
            result=NoneType,
        )

    def _unwrapped(self, lines: bytes) -> Iterator[bytes]:
        """Yield what new messages hold, together, and nothing where a line only shows that the server is there."""
        fresh: list[bytes] = []
        problem: TurnwiseError | None = None
        heard = False
        for line in lines.split(b"\n"):
            if not line.strip():
                continue
            try:
                told = _line.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                problem = DecodeError(
                    f"A line of the channel is no event: {error}", body=line, request_id=self.request_id
                )
                break
            if told.type == "error":
                problem = self._refused(told.data)
                break
            if told.type == "ping" and self._ended:  # all that is kept came before it
                self._faded = True
                break
            heard = heard or told.type != "nop"
            if told.type == "message" and self._is_new(told.seq) and _is_event(told.data):
                fresh.append(bytes(told.data))
        if heard:
            yield b"\n".join(fresh)
        if self._faded:
            raise self._interrupted("The work has ended, and its events are no longer kept")
        if problem is not None:
            raise problem

    def _is_new(self, seq: int | None) -> bool:
        if seq is not None:
            fresh = seq > self._seq
            self._seq = max(seq, self._seq)
            return fresh
        if self._known:
            self._known -= 1
            return False
        self._count += 1
        return True

    def _refused(self, data: msgspec.Raw) -> StreamError:
        """Return the error that the subscription itself ended with; the work may go on."""
        event = UnknownEvent(type="error", data=msgspec.json.decode(data))
        return self._failed(event, *_message_and_code(event.data))

    def _notes(self, event: Event) -> bool:
        match event:
            case AttemptEvent():
                self._tokens.clear()
                del self._reasoning[self._settled :]
            case MessageEvent():
                self._settled = len(self._reasoning)
            case _:
                pass
        return super()._notes(event)


def _is_event(data: msgspec.Raw) -> bool:
    """Tell whether a message is an event; anybody may publish anything on a channel."""
    try:
        _published.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
