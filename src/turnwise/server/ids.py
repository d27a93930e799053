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
LARGEST_RANDOM: Final = (1 << RANDOM_BITS) - 1
STEP_BYTES: Final = 9
ID_BYTES: Final = 16


def now() -> int:
    """Return the wall clock's milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class RandomBytes:
    """Random bytes from the operating system, asked for many at a time: asking costs more than the bytes."""

    def __init__(self, at_once: int = 4096) -> None:
        self._at_once = at_once
        self._bytes = b""
        self._used = 0
        # A child process must not hand out what its parent will.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def __call__(self, count: int) -> bytes:
        """Return `count` bytes that were never returned before."""
        begin = self._used
        self._used = end = begin + count
        if end > len(self._bytes):
            self._bytes = os.urandom(max(self._at_once, count))
            begin, self._used = 0, count
        return self._bytes[begin : begin + count]

    def _forget(self) -> None:
        self._bytes = b""
        self._used = 0


class SortableIds:
    """Makes ids of 32 hexadecimal digits: 12 of time in milliseconds, 20 random.

    Within one process ids of the same millisecond ascend too: the random part goes on from the last one by a step
    of 72 random bits, into the next millisecond where it overflows.
    """

    def __init__(self, clock: Clock = now, random_bytes: Callable[[int], bytes] | None = None) -> None:
        """`random_bytes` returns so many random bytes; the operating system's unless given."""
        self._clock = clock
        self._random_bytes = random_bytes or RandomBytes()
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
            if self._random > LARGEST_RANDOM:
                self._random &= LARGEST_RANDOM
                self._moment += 1
        return (self._moment << RANDOM_BITS | self._random).to_bytes(ID_BYTES).hex()


new_id: Final[NewId] = SortableIds()
