"""Completions whose calls of tools are answered here: while the stream is read, tools run beside it.

What an event asks for and what a call comes to is decided in `Calls`, `Pending` and `attempted`. A call runs in a
thread of its own, or, where it is to be awaited in an event loop that runs already, as a task.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import msgspec

from turnwise._call import Call, CallOptions
from turnwise._dispatch import ToolStreamCall
from turnwise._errors import APIError
from turnwise._streaming import AsyncStream, Stream
from turnwise._transport.base import AsyncTransportResponse, TransportResponse
from turnwise.resources.channel import publish_message
from turnwise.tools import Tool, ToolCallEvent, ToolCallFailed, ToolCallFinished, ToolCallStarted
from turnwise.types.channel import ChannelPublishResult
from turnwise.types.event import (
    WaitForChannelMessage,
    WaitForChannelMessageBeginEvent,
    WaitForChannelMessageEndEvent,
)

__all__ = ["AsyncToolStream", "ToolStream"]

T = TypeVar("T")
R = TypeVar("R")

GRACE = 5.0
"""How long the event that a result has arrived waits for the news that it was sent, in seconds."""

Publish = Call[ChannelPublishResult]


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


class Calls(Generic[T]):
    """The calls of one stream: those under way, by channel, and what is to be told of the others."""

    def __init__(self, call: ToolStreamCall[T, R]) -> None:
        self._tools = call.box.tools
        self._timeout = call.tool_timeout
        self._options = _options_of_answers(call.options)
        self._reports: deque[ToolCallEvent] = deque()

    def asked(self, event: object) -> Pending | None:
        """Return the call that an event asks for, where it is one of these tools'."""
        if not isinstance(event, WaitForChannelMessageBeginEvent):
            return None
        data = event.data
        tool = self._tools.get(data.channel)
        if tool is None:
            return None
        timeout = self._timeout if tool.timeout is msgspec.UNSET else tool.timeout
        arguments = (data.function or {}).get("args", {})
        return Pending(tool, data.channel, arguments, data.id, timeout, self._options)

    def ended(self, event: object) -> WaitForChannelMessage | None:
        """Return the wait for a call that an event says has ended."""
        return event.data if isinstance(event, WaitForChannelMessageEndEvent) else None

    def told(self, event: T, pending: Pending | None) -> list[T]:
        """Return what is to be told with an event: what has ended before it, and what it begins."""
        told: list[T] = []
        while self._reports:
            told.append(cast("T", self._reports.popleft()))
        told.append(event)
        if pending is not None:
            told.append(cast("T", pending.started()))
        return told

    def report(self, pending: Pending, outcome: Outcome) -> None:
        """Keep what is to be told of a call that has ended."""
        self._reports.append(pending.report(outcome))


class Thread:
    """A call of a tool in a thread of its own; one that is to be awaited runs in an event loop there.

    The thread is a daemon: nothing can stop a function that never returns, and it shall not hold up the exit.
    """

    def __init__(self, pending: Pending) -> None:
        self.outcome: Future[Outcome] = Future()
        self._pending = pending
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[object]] | None = None
        self._cancelled = False
        _start(self._work, f"tool {pending.tool.name}")

    def cancel(self) -> None:
        """Stop a call that awaits something, or will."""
        self._cancelled = True
        if self._task is not None:
            loop, task = self._task
            with suppress(RuntimeError):  # the loop is closed: the call has just ended
                loop.call_soon_threadsafe(task.cancel)

    def end(self, outcome: Outcome) -> None:
        """Say what the call comes to; who says it first is right."""
        with suppress(InvalidStateError):
            self.outcome.set_result(outcome)

    def _work(self) -> None:
        try:
            value = self._pending.tool.call(self._pending.arguments)
            if inspect.isawaitable(value):
                value = asyncio.run(self._await(value))
            self.end(Returned(_as_json(value)))
        except BaseException as error:  # noqa: BLE001 - whatever a tool raises is told to the model, exits included
            self.end(error)

    async def _await(self, value: Awaitable[object]) -> object:
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._task = (asyncio.get_running_loop(), task)
        if self._cancelled:  # looked at last, and set first by cancel(): one of the two sees the other
            task.cancel()
        return await value


class Attended:
    """A call in a thread, which another thread attends."""

    def __init__(self, pending: Pending) -> None:
        self.pending = pending
        self.thread = Thread(pending)
        self.over = threading.Event()
        """Set when the call has ended, or its time is over."""
        self.missed: Outcome | None = None
        """What the call comes to where nobody waits for its answer any more."""

    def outcome(self) -> Outcome:
        """Wait for what the call comes to."""
        try:
            return self.thread.outcome.result(self.pending.timeout)
        except TimeoutError:
            self.thread.cancel()
            return self.pending.late()
        finally:
            self.over.set()

    def miss(self, outcome: Outcome) -> None:
        """End a call that nobody waits for any more."""
        self.missed = outcome
        self.thread.cancel()
        self.thread.end(outcome)


class ToolStream(Stream[T, R]):
    """A stream that answers the calls of tools, each in a thread beside it.

    Leaving it, early or not, waits until no call runs any more: an async one is cancelled, another one is waited for
    until it ends or its time is over. Nothing is published for it.
    """

    def __init__(
        self,
        call: ToolStreamCall[T, R],
        connect: Callable[[], TransportResponse],
        publish: Callable[[Publish], ChannelPublishResult],
    ) -> None:
        super().__init__(call, connect)
        self._calls = Calls[T](call)
        self._publish = publish
        self._left = False
        self._running: list[tuple[Attended, threading.Thread]] = []

    def _flow(self) -> Generator[T, None, None]:
        try:
            with closing(super()._flow()) as events:
                for event in events:
                    self._settle(self._calls.ended(event))
                    pending = self._calls.asked(event)
                    told = self._calls.told(event, pending)
                    if pending is not None:
                        self._begin(pending)
                    yield from told
        finally:
            self._leave()

    def _begin(self, pending: Pending) -> None:
        call = Attended(pending)
        self._running.append((call, _start(lambda: self._attend(call), f"answer of {pending.tool.name}")))

    def _attend(self, call: Attended) -> None:
        outcome = call.outcome()
        if self._left:
            return
        if call.missed is None:
            outcome = self._answered(call.pending, outcome)
        self._calls.report(call.pending, call.missed or outcome)

    def _answered(self, pending: Pending, outcome: Outcome) -> Outcome:
        try:
            self._publish(pending.answer(outcome))
        except APIError as refusal:  # of the result, say: that much can be told, so that the server need not wait
            with suppress(Exception):
                self._publish(pending.answer(refusal))
            return refusal
        except Exception as error:  # noqa: BLE001 - no failure of a call ends the stream
            return error
        return outcome

    def _settle(self, ended: WaitForChannelMessage | None) -> None:
        """Wait for the news of a call whose wait, as the server tells, has ended."""
        if ended is None:
            return
        for call, attendant in [each for each in self._running if each[0].pending.is_meant(ended)]:
            missed = call.pending.missed(ended)
            if missed is not None:
                call.miss(missed)
            attendant.join(GRACE)
            self._running.remove((call, attendant))

    def _leave(self) -> None:
        self._left = True
        for call, _ in self._running:
            call.thread.cancel()
        for call, _ in self._running:
            call.over.wait()  # not for its answer, which may be on a slow way


@dataclass(slots=True, eq=False)
class Awaited:
    """A call that a task attends."""

    pending: Pending
    missed: bool = False
    """Whether nobody waits for its answer any more."""


class AsyncToolStream(AsyncStream[T, R]):
    """A stream that answers the calls of tools beside it: async ones in tasks, others in threads.

    Leaving it, early or not, waits until no call runs any more: an async one is cancelled, another one is waited for
    until it ends or its time is over. Nothing is published for it.
    """

    def __init__(
        self,
        call: ToolStreamCall[T, R],
        connect: Callable[[], Awaitable[AsyncTransportResponse]],
        publish: Callable[[Publish], Awaitable[ChannelPublishResult]],
    ) -> None:
        super().__init__(call, connect)
        self._calls = Calls[T](call)
        self._publish = publish
        self._running: list[tuple[Awaited, asyncio.Task[None]]] = []

    async def _flow(self) -> AsyncGenerator[T, None]:
        try:
            async with aclosing(super()._flow()) as events:
                async for event in events:
                    await self._settle(self._calls.ended(event))
                    pending = self._calls.asked(event)
                    told = self._calls.told(event, pending)
                    if pending is not None:
                        self._begin(pending)
                    for each in told:
                        yield each
        finally:
            await self._leave()

    def _begin(self, pending: Pending) -> None:
        call = Awaited(pending)
        self._running.append((call, asyncio.create_task(self._attend(call))))

    async def _attend(self, call: Awaited) -> None:
        outcome = await (_awaited(call.pending) if call.pending.tool.is_async else _threaded(call))
        await self._tell(call, outcome)

    async def _tell(self, call: Awaited, outcome: Outcome) -> None:
        if not call.missed:  # it may have refused to be cancelled
            self._calls.report(call.pending, await self._answered(call.pending, outcome))

    async def _answered(self, pending: Pending, outcome: Outcome) -> Outcome:
        try:
            await self._publish(pending.answer(outcome))
        except APIError as refusal:  # of the result, say: that much can be told, so that the server need not wait
            with suppress(Exception):
                await self._publish(pending.answer(refusal))
            return refusal
        except Exception as error:  # noqa: BLE001 - no failure of a call ends the stream
            return error
        return outcome

    async def _settle(self, ended: WaitForChannelMessage | None) -> None:
        """Wait for the news of a call whose wait, as the server tells, has ended."""
        if ended is None:
            return
        for call, task in [each for each in self._running if each[0].pending.is_meant(ended)]:
            missed = call.pending.missed(ended)
            call.missed = missed is not None
            if missed is not None and task.cancel():
                self._calls.report(call.pending, missed)
            await asyncio.wait([task], timeout=GRACE)
            if task.done():
                self._running.remove((call, task))

    async def _leave(self) -> None:
        for _, task in self._running:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._running), return_exceptions=True)


async def _awaited(pending: Pending) -> Outcome:
    limit = asyncio.timeout(pending.timeout)
    try:
        async with limit:
            value = await cast("Awaitable[object]", pending.tool.call(pending.arguments))
        return Returned(_as_json(value))
    except asyncio.CancelledError as error:
        if cast("asyncio.Task[None]", asyncio.current_task()).cancelling():
            raise
        return error  # the tool's own
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises is told to the model
        return pending.late() if limit.expired() else error


async def _threaded(call: Awaited) -> Outcome:
    pending = call.pending
    outcome = asyncio.wrap_future(Thread(pending).outcome)
    over = None if pending.timeout is None else asyncio.get_running_loop().time() + pending.timeout
    try:
        await asyncio.wait([outcome], timeout=pending.timeout)
    except asyncio.CancelledError:
        # A thread cannot be stopped; whoever leaves is told so by waiting for it.
        if not call.missed:
            await asyncio.wait([outcome], timeout=None if over is None else over - asyncio.get_running_loop().time())
        raise
    return outcome.result() if outcome.done() else pending.late()


def _start(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that sees the caller's context variables."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True)
    thread.start()
    return thread


def _as_json(value: object) -> object:
    """Return a value as JSON holds it: a Struct as a mapping, a date as text.

    Raises:
        TypeError: JSON has nothing for it.
    """
    return cast("object", msgspec.json.decode(msgspec.json.encode(value)))
