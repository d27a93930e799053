"""Calls of tools while they run, each attended by somebody who waits for what it comes to, and answers.

A call runs in a thread of its own, or, where it is to be awaited in an event loop that runs already, as a task.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import cast

import msgspec

from turnwise._calls import Delivery, Outcome, Pause, Pending, Publish, Report, Returned
from turnwise._retry import RetryPolicy
from turnwise.types.channel import ChannelPublishResult

__all__ = ["Attended", "Awaited", "Thread"]


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


class Attended(Delivery):
    """A call in a thread, which another thread attends."""

    thread: Thread
    attendant: threading.Thread

    def __init__(self, pending: Pending, report: Report, patience: RetryPolicy | None) -> None:
        super().__init__(pending, report, patience)
        self.over = threading.Event()
        """Set when the call has ended, or its time is over."""
        self._woken = threading.Event()

    def begin(self, publish: Callable[[Publish], ChannelPublishResult]) -> None:
        """Start the call, where it has not ended already, and somebody to attend it."""
        if self.outcome is None:
            self.thread = Thread(self.pending)
        self.attendant = _start(lambda: self._attend(publish), f"answer of {self.pending.tool.name}")

    def miss(self, outcome: Outcome) -> None:
        """End a call that nobody waits for any more."""
        self.thread.cancel()
        self.thread.end(outcome)

    def leave(self) -> None:
        """Publish nothing any more, and stop the call where it awaits something."""
        super().leave()
        self.thread.cancel()
        self.wake()

    def wake(self) -> None:
        """End a pause."""
        self._woken.set()

    def _attend(self, publish: Callable[[Publish], ChannelPublishResult]) -> None:
        steps = self.deliver(self._made() if self.outcome is None else self.outcome)
        problem: Exception | None = None
        with suppress(StopIteration):
            while True:
                problem = self._perform(steps.send(problem), publish)

    def _made(self) -> Outcome:
        """Wait for what the call comes to."""
        try:
            return self.thread.outcome.result(self.pending.timeout)
        except TimeoutError:
            self.thread.cancel()
            return self.pending.late()
        finally:
            self.over.set()

    def _perform(self, step: Publish | Pause, publish: Callable[[Publish], ChannelPublishResult]) -> Exception | None:
        if isinstance(step, Pause):
            self._woken.wait(step.seconds)
            self._woken.clear()
            return None
        try:
            publish(step)
        except Exception as error:  # noqa: BLE001 - no failure of a call ends the stream
            return error
        return None


class Awaited(Delivery):
    """A call that a task attends."""

    work: asyncio.Task[Outcome]
    attendant: asyncio.Task[None]

    def __init__(self, pending: Pending, report: Report, patience: RetryPolicy | None) -> None:
        super().__init__(pending, report, patience)
        self.missed: Outcome | None = None
        """What the call comes to where nobody waits for its answer any more."""
        self._woken = asyncio.Event()

    def begin(self, publish: Callable[[Publish], Awaitable[ChannelPublishResult]]) -> None:
        """Start the call, where it has not ended already, and somebody to attend it."""
        if self.outcome is None:
            work = _awaited(self.pending) if self.pending.tool.is_async else _threaded(self)
            self.work = asyncio.create_task(work)
        self.attendant = asyncio.create_task(self._attend(publish))

    def miss(self, outcome: Outcome) -> None:
        """End a call that nobody waits for any more."""
        self.missed = outcome
        self.work.cancel()

    def leave(self) -> None:
        """Publish nothing any more, and stop the call where it awaits something."""
        super().leave()
        self.work.cancel()
        self.attendant.cancel()

    def wake(self) -> None:
        """End a pause."""
        self._woken.set()

    async def _attend(self, publish: Callable[[Publish], Awaitable[ChannelPublishResult]]) -> None:
        steps = self.deliver(await self._made() if self.outcome is None else self.outcome)
        problem: Exception | None = None
        with suppress(StopIteration):
            while True:
                problem = await self._perform(steps.send(problem), publish)

    async def _made(self) -> Outcome:
        """Wait for what the call comes to."""
        await asyncio.wait([self.work])
        return cast("Outcome", self.missed) if self.work.cancelled() else self.work.result()

    async def _perform(
        self, step: Publish | Pause, publish: Callable[[Publish], Awaitable[ChannelPublishResult]]
    ) -> Exception | None:
        if isinstance(step, Pause):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), step.seconds)
            self._woken.clear()
            return None
        try:
            await publish(step)
        except Exception as error:  # noqa: BLE001 - no failure of a call ends the stream
            return error
        return None


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
        if call.missed is None:
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
