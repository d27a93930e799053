"""One turn: what a reader sees of a reply in the making.

A turn runs as a task of its own and keeps every event it made. Readers attach, read from any event on, and go; when
the last one goes before the end, the turn is aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

from turnwise.server.errors import DomainError
from turnwise.types.conversation import CompleteResult, ReceiveResult, StatelessCompleteResult
from turnwise.types.event import Event

__all__ = ["Turn", "TurnResult"]

TurnResult = CompleteResult | StatelessCompleteResult | ReceiveResult


class Turn:
    """A reply in the making, or made."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        """Everything so far; ends in a `result` event unless the turn failed."""
        self.done = False
        self.failure: DomainError | None = None
        self.result: TurnResult | None = None
        self._readers = 0
        self._waiting: list[asyncio.Future[bool]] = []
        self.task: asyncio.Task[None] | None = None
        self._settling = False
        self.abort_reason: str | None = None

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Let `work` make the events, as a task."""
        self.task = asyncio.create_task(work)
        return self.task

    def attach(self) -> None:
        """Begin to read."""
        self._readers += 1

    def release(self) -> None:
        """Stop reading; without other readers an unfinished turn is aborted."""
        self._readers -= 1
        if self._readers <= 0:
            self.abort("the client went away")

    def abort(self, reason: str) -> None:
        """End the turn now, unless it is about to end by itself; what was said is kept."""
        if self.task is not None and not self.done and not self._settling and self.abort_reason is None:
            self.abort_reason = reason
            self.task.cancel()

    async def more(self, seen: int, timeout: float | None = None) -> bool:
        """Wait until there are more than `seen` events, or no more to come. False after `timeout` seconds."""
        if len(self.events) > seen or self.done:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_later(timeout, _answer, waiter, False) if timeout is not None else None
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def emit(self, events: Sequence[Event]) -> None:
        """Let readers see `events`."""
        self.events.extend(events)
        self._wake()

    def settle(self) -> None:
        """Say that the end is being written: from here on an abort comes too late."""
        self._settling = True

    def finish(self, result: TurnResult | None = None, failure: DomainError | None = None) -> None:
        """End the turn, well or not."""
        self.result, self.failure, self.done = result, failure, True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            _answer(waiter, True)


def _answer(waiter: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 - a loop callback
    if not waiter.done():
        waiter.set_result(value)
