"""What one account or session token used in the last minute, and what that leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Final

from turnwise.server.storage.rates import PERIOD_MS, PERIODS, Tally

__all__ = ["KINDS", "MESSAGES", "REQUESTS", "SHARE", "TOKENS", "TURNS", "YES", "Allowance", "Holder", "Use", "Verdict"]

REQUESTS, MESSAGES, TOKENS, TURNS = range(4)
KINDS: Final = ("requests", "messages", "tokens", "turns")

SHARE: Final = 8
"""All processes together may let through a part of this size of what is left before they ask each other."""

Counts = list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Limits: three of any sixty seconds, and one of any moment. 0 is without limit."""

    requests: int = 0
    messages: int = 0
    tokens: int = 0
    turns: int = 0


class Holder(Enum):
    """Whose limits they are."""

    ACCOUNT = "account"
    SESSION = "session"


class Verdict(Enum):
    """Whether there is room."""

    YES = 0
    ASK = 1
    """As far as this process knows; it has let so much through that the others are to be asked first."""
    NO = 2


YES, ASK, NO = Verdict


class Use:
    """What one subject used: this process's own counts by period, and the sums of all others as last read.

    `unsent` is what others cannot know yet. Each process holds that below a share of what was left, so that all of
    them together exceed a limit by less than `1/SHARE` of it, or by one each.
    """

    __slots__ = (
        "_counted",
        "_credit",
        "_oldest",
        "_others",
        "_own",
        "_turns_elsewhere",
        "allowance",
        "dirty",
        "holder",
        "limits",
        "period",
        "read_at",
        "subject",
        "turns",
        "unsent",
        "used",
    )

    def __init__(self, subject: str, holder: Holder, allowance: Allowance, *, period: int, processes: int) -> None:
        self.subject = subject
        self.holder = holder
        self.allowance = allowance
        self.limits: tuple[int, ...] = astuple(allowance)
        self.used: Counts = [0, 0, 0, 0]
        """By everybody, as far as is known here."""
        self.unsent: Counts = [0, 0, 0, 0]
        self.turns = 0
        """Those that run here."""
        self.dirty: set[int] = set()
        """The periods of which others are to be told."""
        self.read_at = float("-inf")
        """When the others were last read, in seconds of this process's clock."""
        self._credit = [max(1, limit // (SHARE * processes)) for limit in self.limits]
        self._own: dict[int, Counts] = {}
        self._counted: Counts | None = None
        """What was counted in the period that runs, once something was that others are not told yet."""
        self._others: dict[int, Counts] = {}
        self._turns_elsewhere = 0
        self._oldest = period
        self.period = period
        """The one that runs: what is added is counted in it."""

    # Time

    def roll(self, period: int) -> None:
        """Forget what is no longer in the window."""
        if period != self.period:
            self.period = period
            self._counted = None
            for counts in (self._own, self._others):
                for gone in [each for each in counts if not 0 <= period + 1 - each <= PERIODS]:
                    del counts[gone]
            self._sum()

    def _sum(self) -> None:
        for kind in (REQUESTS, MESSAGES, TOKENS):
            self.used[kind] = sum(
                [counts[kind] for counts in self._own.values()] + [counts[kind] for counts in self._others.values()]
            )
        self.used[TURNS] = self.turns + self._turns_elsewhere
        self._oldest = min([self.period, *self._own, *self._others])

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when this is forgotten."""
        return not self._own and not self.turns and not self.dirty

    # Counting

    def verdict(self, kind: int, count: int, *, alone: bool) -> Verdict:
        """Tell whether there is room for so many, or for any more where `count` is 0.

        More at once than the limit has room where nothing else was counted: else they never would.
        """
        limit = self.limits[kind]
        if not limit:
            return YES
        used = self.used[kind]
        if used > 0 and used + (count or 1) > limit:
            return NO
        if alone:
            return YES
        unsent = self.unsent[kind]
        return ASK if unsent and unsent + count > self._credit[kind] else YES

    def add(self, kind: int, count: int) -> None:
        """Count; of turns, those that begin now."""
        period = self.period
        self.unsent[kind] += count
        self.used[kind] += count
        self.dirty.add(period)
        if kind == TURNS:
            self.turns += count
        else:
            self._counted = self._own.setdefault(period, [0, 0, 0])
            self._counted[kind] += count

    def count(self, kind: int, count: int, *, alone: bool) -> bool:
        """Count as `add` does where `verdict` certainly is YES, and `add` counted before; tell whether it was done.

        Most requests need no more. Not for turns.
        """
        counted, limit = self._counted, self.limits[kind]
        used, unsent = self.used[kind] + count, self.unsent[kind] + count
        if counted is None or (limit and (used > limit or not (alone or unsent <= self._credit[kind]))):
            return False
        self.used[kind], self.unsent[kind] = used, unsent
        counted[kind] += count
        return True

    def take_back(self, kind: int, count: int, period: int) -> None:
        """Undo what was counted in a period, if that still counts; of turns, those that ended."""
        if kind == TURNS:
            self.turns -= count
            self.used[TURNS] -= count
            self.dirty.add(self.period)
        elif (counts := self._own.get(period)) is not None:
            counts[kind] -= count
            self.used[kind] -= count
            self.dirty.add(period)

    # What is left

    def left(self, kind: int) -> int:
        """Return how many there is room for."""
        return max(0, self.limits[kind] - self.used[kind])

    def wait(self, kind: int, count: int, now: int) -> float:
        """Return the seconds until there is room for so many more, if nothing else is counted."""
        excess = self.used[kind] + min(count or 1, self.limits[kind]) - self.limits[kind]
        for period in sorted({*self._own, *self._others}):
            excess -= sum(counts[period][kind] for counts in (self._own, self._others) if period in counts)
            if excess <= 0:
                return max(0.0, ((period + PERIODS) * PERIOD_MS - now) / 1000)
        return 1.0

    def until(self, now: int) -> float:
        """Return the seconds until the oldest that was counted counts no more."""
        return max(0.0, ((self._oldest + PERIODS) * PERIOD_MS - now) / 1000)

    # Other processes

    def tallies(self) -> tuple[list[Tally], Counts]:
        """Return what others are to be told, and how much of `unsent` that is. It counts as told from now on."""
        tallies = [
            Tally(
                subject=self.subject,
                period=period,
                requests=counts[REQUESTS],
                messages=counts[MESSAGES],
                tokens=counts[TOKENS],
                turns=self.turns,
            )
            for period in self.dirty
            for counts in (self._own.get(period, [0, 0, 0]),)
        ]
        self.dirty = set()
        self._counted = None
        return tallies, self.unsent.copy()

    def untold(self, tallies: Sequence[Tally]) -> None:
        """Tell of these periods again: they could not be stored."""
        self.dirty |= {tally.period for tally in tallies}

    def read(self, others: Sequence[Tally], turns: int, *, sent: Counts, processes: int, moment: float) -> None:
        """Take over what others counted, after they could read all of `sent`."""
        self._others = {each.period: [each.requests, each.messages, each.tokens] for each in others}
        self._turns_elsewhere = turns
        self.unsent = [now - told for now, told in zip(self.unsent, sent, strict=True)]
        self.read_at = moment
        self._sum()
        self._credit = [
            max(1, (limit - used) // (SHARE * processes)) for limit, used in zip(self.limits, self.used, strict=True)
        ]
