"""Ids and time, passed in wherever they are needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Clock", "NewId", "new_id", "now"]

Clock = Callable[[], int]
"""Returns milliseconds since the epoch."""

NewId = Callable[[], str]
"""Returns an id never returned before, later ones sorting after earlier ones."""

RANDOM_BITS: Final = 80
STEP_BYTES: Final = 9


def now() -> int:
    """Return the wall clock's milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class SortableIds:
    """Makes ids of 32 hexadecimal digits: 12 of time in milliseconds, 20 random.

    Within one process ids of the same millisecond ascend too: the random part goes on from the last one by a step
    of 72 random bits, into the next millisecond where it overflows.
    """

    def __init__(self, clock: Clock = now, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._moment = -1
        self._random = 0

    def __call__(self) -> str:
        """Return the next id."""
        moment = self._clock()
        if moment > self._moment:
            self._moment = moment
            self._random = int.from_bytes(self._random_bytes(RANDOM_BITS // 8))
        else:
            self._random += 1 + int.from_bytes(self._random_bytes(STEP_BYTES))
            self._moment += self._random >> RANDOM_BITS
            self._random &= (1 << RANDOM_BITS) - 1
        return f"{self._moment:012x}{self._random:020x}"


new_id: Final[NewId] = SortableIds()
