"""Calls of tools: what the events of a stream ask for, and what becomes of each call. No I/O here.

A call is made once, however often it is asked for: a server that goes on with a turn asks again, under the same id, for
what its predecessor had not stored. What the call came to is kept, and published whenever it is asked for, until it has
arrived or nobody waits for it any more. `Delivery` says what to do for that; threads and tasks do it (`_attend.py`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import msgspec

from turnwise._call import Call, CallOptions
from turnwise._dispatch import ToolStreamCall
from turnwise._errors import APIError, PermissionDeniedError, TurnwiseError
from turnwise._retry import RetryPolicy
from turnwise.resources.channel import publish_message
from turnwise.tools import Tool, ToolCallEvent, ToolCallFailed, ToolCallFinished, ToolCallStarted
from turnwise.types.channel import ChannelPublishResult
from turnwise.types.event import (
    WaitForChannelMessage,
    WaitForChannelMessageBeginEvent,
    WaitForChannelMessageEndEvent,
)

__all__ = ["Calls", "Delivery", "Outcome", "Pause", "Pending", "Publish", "Report", "Returned"]

T = TypeVar("T")
R = TypeVar("R")

SHORTEST_PAUSE = 0.1
LONGEST_ROW = 10
"""Failures in a row after which pauses grow no more."""

Publish = Call[ChannelPublishResult]
Report = Callable[[ToolCallEvent], None]


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call returned, as JSON."""

    value: object


Outcome = Returned | BaseException


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that the server waits for."""

    tool: Tool[..., object]
    channel: str
    arguments: object
    id: str | None
    timeout: float | None
    options: CallOptions = field(default_factory=CallOptions)
    """Of the call that answers it."""

    def started(self) -> ToolCallEvent:
        """Return the event that tells of it."""
        return ToolCallStarted(name=self.tool.name, arguments=self.arguments, id=self.id)

    def late(self) -> Outcome:
        """Return what a call that took too long comes to."""
        return TimeoutError(f"The function did not finish within {self.timeout:g} s")

    def is_meant(self, ended: WaitForChannelMessage) -> bool:
        """Tell whether a wait that ended was for this call."""
        return ended.channel == self.channel and ended.id in {None, self.id}

    def missed(self, ended: WaitForChannelMessage) -> Outcome | None:
        """Return what the call comes to where its wait ended without its answer, which carries its id; else `None`."""
        message = ended.message
        told = cast("dict[str, object]", message) if isinstance(message, dict) else {}
        if ended.id is None or told.get("id") == ended.id:
            return None
        return TimeoutError(f"The server waited no longer: {told.get('error') or 'another message came'}")

    def answer(self, outcome: Outcome) -> Publish:
        """Return the call that tells the server."""
        said = {"data": outcome.value} if isinstance(outcome, Returned) else {"error": _told(outcome)}
        return publish_message(
            self.channel, message=said if self.id is None else {**said, "id": self.id}, **self.options
        )

    def report(self, outcome: Outcome) -> ToolCallEvent:
        """Return the event that tells the caller."""
        if isinstance(outcome, Returned):
            return ToolCallFinished(name=self.tool.name, arguments=self.arguments, id=self.id, result=outcome.value)
        return ToolCallFailed(
            name=self.tool.name, arguments=self.arguments, id=self.id, message=_told(outcome), error=outcome
        )


def _options_of_answers(own: CallOptions) -> CallOptions:
    """Return what of an exchange's options its answers need: what lets them pass, and not its key."""
    headers = own.get("extra_headers", {})
    return {"extra_headers": {name: value for name, value in headers.items() if name.lower() != "idempotency-key"}}


def _told(error: BaseException) -> str:
    """What the model is told of an error: its kind and its message, no traceback."""
    if isinstance(error, msgspec.DecodeError):
        return f"The arguments do not fit: {error}"
    text = str(error).encode(errors="replace").decode()
    if type(error) is TimeoutError and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long, or until something happens that makes another try worth while."""

    seconds: float


class Delivery(ABC):
    """How a call's outcome gets to the server, as often as it asks for it, and to the caller, once.

    Whoever reads the stream tells what the server says; one other thread or task at a time attends the call.
    """

    def __init__(self, pending: Pending, report: Report, patience: RetryPolicy | None) -> None:
        """With `patience`, what does not arrive is published again: a server that is away may come back."""
        self.pending = pending
        self.outcome: Outcome | None = None
        """What the call came to, once it has ended."""
        self._report = report
        # A second answer without an id might be taken for the one to the next call.
        self._patience = patience if pending.id is not None else None
        self._lock = threading.Lock()
        self._asked = 0
        self._answered = 0
        self._attended = False
        self._told = False
        self._left = False

    @property
    def is_new(self) -> bool:
        """Whether it was asked for once."""
        return self._asked == 1

    def ask(self) -> None:
        """Note that the server asks for it."""
        with self._lock:
            self._asked += 1
        if not self.is_new:
            self.wake()

    def take_on(self) -> bool:
        """Tell whether somebody has to attend it now: where the call runs or is being answered, somebody does."""
        with self._lock:
            free, self._attended = not self._attended, True
            return free

    def settle(self, ended: WaitForChannelMessage) -> None:
        """Note that the server waits no longer."""
        missed = self.pending.missed(ended)
        if missed is not None:
            self._tell(missed)
        if ended.id is not None:
            self._note(self._asked)  # before the call ends, or what it comes to would be published
        if missed is not None:
            self.miss(missed)
        self.wake()

    def leave(self) -> None:
        """Publish nothing any more, and stop the call."""
        self._left = True

    @abstractmethod
    def miss(self, outcome: Outcome) -> None:
        """End a call that nobody waits for any more; where it still runs, it comes to `outcome`."""

    @abstractmethod
    def wake(self) -> None:
        """End a pause."""

    def deliver(self, outcome: Outcome) -> Generator[Publish | Pause, Exception | None, None]:
        """Yield what to do about an outcome, and take in what went wrong with it; tell the caller at last."""
        self.outcome = told = outcome
        refused, row = False, 0
        while not self._rests():
            asked = self._asked
            problem = yield self.pending.answer(self.outcome)
            if (pause := self._pause(problem, row)) is not None:
                row += 1
                yield pause
            elif isinstance(problem, APIError) and not refused:
                # Of the result, say: that much can be told, so that the server need not wait.
                self.outcome, refused = problem, True
            else:
                told = self.outcome if refused or problem is None else problem
                self._note(asked)
        if not self._left:
            self._tell(told)

    def _pause(self, problem: Exception | None, row: int) -> Pause | None:
        """Return how long to wait before another try; `None` where there is to be none."""
        patience = self._patience
        if patience is None or not isinstance(problem, TurnwiseError):
            return None
        # With a session's token: until a restarted server waits again, nothing may be published.
        if isinstance(problem, PermissionDeniedError) or patience.wants(problem):
            return Pause(max(SHORTEST_PAUSE, patience.wait(min(row, LONGEST_ROW), problem)))
        return None

    def _rests(self) -> bool:
        """Tell whether all is answered that was asked for; whoever attends it goes away then."""
        with self._lock:
            self._attended = not self._left and self._answered < self._asked
            return not self._attended

    def _note(self, answered: int) -> None:
        with self._lock:
            self._answered = max(self._answered, answered)

    def _tell(self, outcome: Outcome) -> None:
        with self._lock:
            first, self._told = not self._told, True
        if first:
            self._report(self.pending.report(outcome))


C = TypeVar("C", bound=Delivery)


class Calls(Generic[T, C]):
    """The calls of one stream, and what is to be told of them."""

    def __init__(
        self,
        call: ToolStreamCall[T, R],
        make: Callable[[Pending, Report, RetryPolicy | None], C],
        patience: RetryPolicy | None = None,
    ) -> None:
        self.running: list[C] = []
        """Those whose end was not heard of."""
        self._make = make
        self._patience = patience
        self._tools = call.box.tools
        self._timeout = call.tool_timeout
        self._options = _options_of_answers(call.options)
        self._kept: dict[tuple[str, str], C] = {}
        self._reports: deque[ToolCallEvent] = deque()

    def asked(self, event: object) -> C | None:
        """Return the call that an event asks for, for the first time or again, where it is one of these tools'."""
        if not isinstance(event, WaitForChannelMessageBeginEvent):
            return None
        data = event.data
        tool = self._tools.get(data.channel)
        if tool is None:
            return None
        call = self._call(data, tool)
        call.ask()
        return call

    def _call(self, data: WaitForChannelMessage, tool: Tool[..., object]) -> C:
        kept = None if data.id is None else self._kept.get((data.channel, data.id))
        if kept is not None:
            return kept
        timeout = self._timeout if tool.timeout is msgspec.UNSET else tool.timeout
        arguments = (data.function or {}).get("args", {})
        pending = Pending(tool, data.channel, arguments, data.id, timeout, self._options)
        made = self._make(pending, self._reports.append, self._patience)
        if data.id is not None:
            self._kept[data.channel, data.id] = made
        return made

    def told(self, event: T, call: C | None) -> list[T]:
        """Return what is to be told with an event: what has ended before it, and what it begins."""
        told: list[T] = []
        while self._reports:
            told.append(cast("T", self._reports.popleft()))
        told.append(event)
        if call is not None and call.is_new:
            told.append(cast("T", call.pending.started()))
        return told

    def settled(self, event: object) -> list[C]:
        """Return the calls whose wait, as an event says, has ended; they know."""
        if not isinstance(event, WaitForChannelMessageEndEvent):
            return []
        found = [each for each in self.running if each.pending.is_meant(event.data)]
        for each in found:
            each.settle(event.data)
        return found

    def wake(self) -> None:
        """Let what waits for another try have it now."""
        for each in self.running:
            each.wake()
