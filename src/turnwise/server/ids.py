"""Ids and time, passed in wherever they are needed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Clock", "NewId", "new_id", "now"]

Clock = Callable[[], int]
"""Returns milliseconds since the epoch."""

NewId = Callable[[], str]
"""Returns an id never returned before, later ones sorting after earlier ones."""

ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
TIME_DIGITS: Final = 9
RANDOM_DIGITS: Final = 16


def now() -> int:
    """Return the wall clock's milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class SortableIds:
    """Makes ids of a time (9 digits of base 36: milliseconds until the year 5188) and 82 random bits.

    Within one process ids of the same millisecond ascend too: the random part counts on from the last one.
    """

    def __init__(self, clock: Clock = now, random_below: Callable[[int], int] = secrets.randbelow) -> None:
        self._clock = clock
        self._random_below = random_below
        self._moment = -1
        self._random = 0

    def __call__(self) -> str:
        """Return the next id."""
        moment = max(self._clock(), self._moment)
        span = len(ALPHABET) ** RANDOM_DIGITS
        if moment == self._moment:
            self._random += 1 + self._random_below(1 << 32)
            if self._random >= span:
                moment, self._random = moment + 1, self._random_below(span)
        else:
            self._random = self._random_below(span)
        self._moment = moment
        return _digits(moment, TIME_DIGITS) + _digits(self._random, RANDOM_DIGITS)


def _digits(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


new_id: Final[NewId] = SortableIds()
