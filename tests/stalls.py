"""How long the machine stood still: a bound on seconds is to fail for the server's sake alone.

with Stalls() as stalls:
    began = time.monotonic()
    ...
    assert time.monotonic() - began < 10 + stalls.allowance
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final, Self

__all__ = ["Stalls"]

BEAT: Final = 0.05
LATE: Final = 0.25
"""Seconds by which a beat may be late without a stall: where two threads share this process, some are."""
CONSEQUENCES: Final = 3
"""A second's stall may cost so many: leases lapse meanwhile, and what was under way is begun again."""


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
