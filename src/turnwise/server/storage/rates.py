"""The port to counts that processes share: what each subject of a limit used, in periods of five seconds.

A process writes whole numbers, its own alone, and reads the sums of all others. So a write that is repeated, because
nobody knows what became of it, changes nothing, and no process waits for another's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = ["PERIODS", "PERIOD_MS", "Others", "RateStore", "Tally"]

PERIOD_MS: Final = 5_000
"""Periods are counted from 1970, on the database's clock."""

PERIODS: Final = 13
"""Periods that count: the one that runs and twelve before it, so that sixty seconds are always covered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a process counted of a subject in one period."""

    subject: str
    period: int
    requests: int = 0
    messages: int = 0
    tokens: int = 0
    turns: int = 0
    """Those that run when this is written; it holds to the end of the next period, unless written anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What other processes counted."""

    now: int
    """The database's clock, in milliseconds."""
    processes: int
    """Servers on this database that are alive, this one included."""
    counted: Sequence[Tally] = ()
    """Sums over all others, one a subject and period; their turns are not among them."""
    turns: Mapping[str, int] = field(default_factory=dict[str, int])
    """Turns that run elsewhere, by subject."""


class RateStore(Protocol):
    """Counts that processes share."""

    async def store_rates(self, process_id: str, tallies: Sequence[Tally]) -> None:
        """Store what a process counted, in place of what it said before of the same subjects and periods."""
        ...

    async def find_rates(self, process_id: str, subjects: Sequence[str]) -> Others:
        """Return what all processes but this one counted of some subjects, in the periods that count now."""
        ...
