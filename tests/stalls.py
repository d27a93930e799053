"""How long the machine stood still: a bound on seconds is to fail for the server's sake alone.

A bound is written `took < 10 + stalls.allowance`, or as `async with stalls.within(10)`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self, TypeVar

__all__ = ["Stalls"]

T = TypeVar("T")

BEAT: Final = 0.05
LATE: Final = 0.25
"""Seconds by which a beat may be late without a stall: where two threads share this process, some are."""
CONSEQUENCES: Final = 3
"""A second's stall may cost so many: leases lapse meanwhile, and what was under way is begun again."""
TRIES: Final = 10


class Stalls:
    """Counts the seconds in which this process did not run though it wanted to."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._last = 0.0

    @property
    def allowance(self) -> float:
        """The seconds by which something may have taken longer than it does."""
        late = time.monotonic() - self._last - BEAT
        return CONSEQUENCES * (self.seconds + (late if late > LATE else 0))

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncGenerator[None]:
        """Raise `TimeoutError` after so many seconds, those not counted in which the machine stood still."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds - self.allowance
        async with asyncio.timeout(seconds) as timeout:
            looks: list[asyncio.TimerHandle] = []

            def extend() -> None:  # a stall makes this due before the timeout is: it comes first
                timeout.reschedule(end + self.allowance)
                looks[:] = [loop.call_later(BEAT, extend)]

            extend()
            try:
                yield
            finally:
                looks[0].cancel()

    async def undisturbed(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work, again where the machine stood still meanwhile; return what it returned last."""
        for _ in range(TRIES):
            before = self.allowance
            result = await work()
            if self.allowance == before:
                return result
        return await work()

    async def forgiven(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work, again where it failed and the machine stood still meanwhile: for long enough, leases lapse."""
        for _ in range(TRIES):
            before = self.allowance
            try:
                return await work()
            except Exception:
                if self.allowance == before:
                    raise
        return await work()

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            moment = time.monotonic()
            late = moment - self._last - BEAT
            if late > LATE:
                self.seconds += late
            self._last = moment

    def __enter__(self) -> Self:
        self._last = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
