"""One turn: what a reader sees of a reply in the making.

A turn runs as a task of its own. Readers attach, read from any event on, and go; when the last one goes before the
end, the turn is aborted. A dispatched turn has a channel in place of readers, and nobody whose going ends it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence

import msgspec

from turnwise.server.channels.base import Feed
from turnwise.server.errors import DomainError, Unavailable
from turnwise.server.storage.journal import Publication
from turnwise.types.conversation import CompleteResult, ReceiveResult, StatelessCompleteResult
from turnwise.types.event import Event

__all__ = ["Turn", "TurnResult"]

TurnResult = CompleteResult | StatelessCompleteResult | ReceiveResult

JSON = msgspec.json.Encoder()


class Turn:
    """A reply in the making, or made."""

    def __init__(self, feed: Feed | None = None) -> None:
        """`feed` is the channel of a dispatched turn."""
        self.events: list[Event] = []
        """Everything so far (of a turn with readers); ends in a `result` event unless the turn failed."""
        self.done = False
        self.failure: DomainError | None = None
        self.result: TurnResult | None = None
        self.feed = feed
        self.task: asyncio.Task[None] | None = None
        self.abort_reason: str | None = None
        self.abort_failure: DomainError | None = None
        """What readers are told of the abort, where there is more to say than its reason."""
        self.cancelled = False
        """Whether the abort was asked for, so that the turn ends with a result."""
        self.lost = False
        """Whether the turn moved on without this process: it may write nothing more."""
        self.waits = False
        """Whether it has not begun: a stored one that waits for room, or for another turn."""
        self._held: list[Event] = []
        self._readers = 0
        self._waiting: dict[asyncio.Future[bool], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._settling = False

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Let `work` make the events, as a task."""
        self.task = asyncio.create_task(self._begin(work))
        return self.task

    async def _begin(self, work: Coroutine[None, None, None]) -> None:
        # A task that is cancelled before its first step does none of its work, not even the end.
        self._begun = True
        if self.abort_reason is not None:
            self._cancel()
        await work

    def _cancel(self) -> None:
        if self.task is not None and self._begun:
            self.task.cancel()

    # Readers

    def attach(self) -> None:
        """Begin to read."""
        self._readers += 1

    def release(self) -> None:
        """Stop reading; without other readers an unfinished turn is aborted."""
        self._readers -= 1
        if self._readers <= 0:
            self.abort("the client went away")

    async def more(self, seen: int, timeout: float | None = None) -> bool:
        """Wait until there are more than `seen` events, or no more to come. False after `timeout` seconds."""
        if len(self.events) > seen or self.done:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting[waiter] = deadline = loop.time() + timeout if timeout is not None else math.inf
        # A timer for each wait would cost more than the event that ends it: one looks after all waits.
        if timeout is not None and (self._timer is None or deadline < self._timer.when()):
            self._look_at(deadline, loop)
        try:
            # What came in the moment in which the time was over has come.
            return await waiter or len(self.events) > seen or self.done
        finally:
            self._waiting.pop(waiter, None)

    def _look_at(self, moment: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(moment, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waits that are over; look again when the next one is."""
        self._timer = None
        moment = loop.time()
        for waiter, deadline in self._waiting.items():
            if deadline <= moment:
                _answer(waiter, False)
        later = min((deadline for deadline in self._waiting.values() if deadline > moment), default=math.inf)
        if later < math.inf:
            self._look_at(later, loop)

    # Ends

    def abort(self, reason: str, *, cancelled: bool = False, failure: DomainError | None = None) -> None:
        """End the turn now, unless it is about to end by itself, or is lost; what was said is kept."""
        over = self.done or self.lost or self._settling
        if self.task is not None and not over and self.abort_reason is None:
            self.abort_reason, self.abort_failure = reason, failure
            self.cancelled = cancelled
            self._cancel()

    def lose(self) -> None:
        """End the turn now without a trace: another process goes on with it, or has settled it."""
        if self.task is not None and not self.done:
            self.lost = True
            self.abort_reason = self.abort_reason or "the server that ran it lost its lease"
            self._cancel()

    @property
    def goes_on(self) -> bool:
        """Whether another attempt is made at it where the database is away: nobody waits for it."""
        return self.feed is not None

    def broken_off(self) -> DomainError:
        """Return what a reader is told where it was aborted."""
        if self.abort_failure is not None:
            return self.abort_failure
        reason = self.abort_reason or "its task was cancelled"
        return Unavailable(
            f"The reply was broken off: {reason}. What was said until then is kept; send the request again.",
            retry_after=1.0,
        )

    def settle(self) -> None:
        """Say that the end is being written: from here on an abort comes too late."""
        self._settling = True

    def finish(self, result: TurnResult | None = None, failure: DomainError | None = None) -> None:
        """End the turn, well or not."""
        self.result, self.failure, self.done = result, failure, True
        if self.feed is not None:
            self.feed.close()
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    # Events

    def emit(self, events: Sequence[Event]) -> None:
        """Let everybody see `events`."""
        if not events:
            return
        if self.feed is not None:
            self.feed.say(_encoded(events))
        else:
            self.events.extend(events)
            self._wake()

    def hold(self, events: Sequence[Event]) -> Publication | None:
        """Keep `events` back until what they tell of is stored. Return what is to be stored with it.

        What was held before and not told could not be stored: it is forgotten.
        """
        self._held = list(events)
        return self.feed.hold(_encoded(events)) if self.feed is not None else None

    def tell(self) -> None:
        """Let everybody see the events that were kept back."""
        held, self._held = self._held, []
        if self.feed is not None:
            self.feed.release()
        else:
            self.events.extend(held)
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            _answer(waiter, True)


def _encoded(events: Sequence[Event]) -> list[bytes]:
    return [JSON.encode(event) for event in events]


def _answer(waiter: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 - a loop callback
    if not waiter.done():
        waiter.set_result(value)
