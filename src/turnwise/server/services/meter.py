"""What one principal's requests are counted by, and refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple

from turnwise.server.errors import LimitsReached
from turnwise.server.services.rates import FRESH, Rates
from turnwise.server.services.use import KINDS, MESSAGES, REQUESTS, TOKENS, TURNS, YES, Holder, Use, Verdict
from turnwise.server.storage.base import Once, UsedTokens

__all__ = ["UNMETERED", "Left", "Meter", "Taken"]

LOOK_AGAIN: Final = 0.2
"""Seconds after which a dispatched turn looks again whether there is room for it."""

FRESH_NEAR: Final = 0.1
"""Seconds for which what others counted is good enough to begin a turn by, once half of a limit is used."""

HOLDERS: Final = {Holder.ACCOUNT: "The account", Holder.SESSION: "This session token"}


class Left(NamedTuple):
    """How many requests are left of a limit, and for how many seconds that is all."""

    holder: Holder
    limit: int
    left: int
    seconds: int


class Taken:
    """What a request took of its limits."""

    __slots__ = ("_period", "_rates", "_uses", "_wanted")

    def __init__(
        self, rates: Rates | None, uses: Sequence[Use], wanted: Sequence[tuple[int, int]], period: int | None = None
    ) -> None:
        """`period` is when it was counted, unless now."""
        self._rates = rates
        self._uses = uses
        self._wanted = wanted
        self._period = period or (uses[0].period if uses else 0)

    def end(self) -> None:
        """End the turn; what else was taken stays counted."""
        self._undo([each for each in self._wanted if each[0] == TURNS])

    def give_back(self) -> None:
        """Undo all of it: nothing was stored, nothing runs."""
        self._undo(self._wanted)

    def _undo(self, undone: Sequence[tuple[int, int]]) -> None:
        self._wanted = [each for each in self._wanted if each not in undone]
        for use in self._uses:
            for kind, count in undone:
                use.take_back(kind, count, self._period)
            if self._rates is not None:
                self._rates.changed(use)


class Meter:
    """Counts for an account and, where a session token was sent, for that as well."""

    __slots__ = ("_account_id", "_known", "_rates", "_subjects")

    def __init__(self, rates: Rates | None, account_id: str, session: str | None = None) -> None:
        """Without `rates` nothing is limited."""
        self._rates = rates
        self._account_id = account_id
        self._subjects: list[tuple[str, Holder]] = []
        self._known: list[Use] = []
        if rates is not None:
            if Holder.ACCOUNT in rates.limited:
                self._subjects.append((account_id, Holder.ACCOUNT))
            if session is not None and Holder.SESSION in rates.limited:
                self._subjects.append((session, Holder.SESSION))

    # Requests

    def count_request(self) -> bool:
        """Count a request if there is room as far as is known here; else `request` is to be asked."""
        return self._count_at_once(REQUESTS, 1)

    async def request(self) -> None:
        """Count a request. Raises `LimitsReached`."""
        await self.take((REQUESTS, 1))

    def left(self) -> Left | None:
        """Return what is left of the token's limit, or else of the account's, once half of it is used."""
        if self._rates is None or not self._known:
            return None
        use = self._known[-1]  # the request was counted just now
        limit = use.limits[REQUESTS]
        if 2 * use.used[REQUESTS] < limit or not limit:
            return None
        return Left(use.holder, limit, use.left(REQUESTS), math.ceil(use.until(self._rates.now())))

    # Messages

    def storing(
        self, count: int, write: Callable[[Once | None], Awaitable[None]]
    ) -> Callable[[Once | None], Awaitable[None]]:
        """Return `write` with its messages counted; a request that was done before is not refused."""
        if not count or not self._subjects:
            return write

        async def write_counted(once: Once | None) -> None:
            taken: Taken | None = None
            if not self._count_at_once(MESSAGES, count):
                taken = await self.take_once(once, (MESSAGES, count))
            uses, period = self._known, self._known[0].period
            try:
                await write(once)
            except Exception:
                (taken or Taken(self._rates, uses, ((MESSAGES, count),), period)).give_back()
                raise

        return write_counted

    # Turns

    async def turn(self, once: Once | None, *, messages: int) -> Taken:
        """Begin a turn, which stores so many messages of the user's, unless a limit is reached."""
        return await self.take_once(once, (MESSAGES, messages), (TOKENS, 0), (TURNS, 1))

    async def dispatch(self, once: Once | None, *, messages: int) -> Taken:
        """Accept a turn that is yet to wait for its room."""
        return await self.take_once(once, (MESSAGES, messages), (TOKENS, 0))

    @asynccontextmanager
    async def room(self) -> AsyncGenerator[None]:
        """Wait until fewer turns run than may at once, and be one of them as long as this context."""
        taken: Taken | None = None
        while taken is None:
            try:
                taken = await self.take((TURNS, 1))
            except LimitsReached:
                await asyncio.sleep(LOOK_AGAIN)
        try:
            yield
        finally:
            taken.end()

    @contextmanager
    def resumed(self) -> Generator[None]:
        """Be one of the turns that run, whatever the limit says: it began before."""
        taken = self._add(self._uses(), ((TURNS, 1),))
        try:
            yield
        finally:
            taken.end()

    def spent(self, used: Sequence[UsedTokens]) -> None:
        """Count tokens that a model has made or read."""
        tokens = sum(each.input_tokens + each.output_tokens for each in used)
        if tokens:
            self._add(self._uses(), ((TOKENS, tokens),))

    # Any

    async def take_once(self, once: Once | None, *wanted: tuple[int, int]) -> Taken:
        """Take, or take nothing where a request that is refused has its answer already."""
        try:
            return await self.take(*wanted)
        except LimitsReached:
            if once is None or self._rates is None:
                raise
            done = await self._rates.storage.find_once(self._account_id, once.path, once.key)
            if done is None or done.answer is None:
                raise
            return Taken(None, (), ())

    async def take(self, *wanted: tuple[int, int]) -> Taken:
        """Count so many of each kind, all or nothing. Raises `LimitsReached`."""
        asked = False
        while True:
            uses = self._uses()
            refused = self._verdict(uses, wanted, asked=asked)
            if refused is None:
                return self._add(uses, wanted)
            assert self._rates is not None, "without rates nothing is refused"  # noqa: S101 - a mistake of ours
            verdict, use, kind, count = refused
            if verdict is Verdict.NO and self._rates.is_fresh(use):
                raise self._refusal(use, kind, count)
            asked = await self._rates.ask(uses)
            if not asked:
                if verdict is Verdict.NO:
                    raise self._refusal(use, kind, count)
                return self._add(self._uses(), wanted)

    def _uses(self) -> list[Use]:
        rates = self._rates
        if rates is None:
            return []
        period = rates.period()
        known = self._known  # the account's use, or the token's, or both
        if not known or known[0].period != period or known[-1].period != period:
            self._known = rates.uses(self._subjects, period)
        return self._known

    def _count_at_once(self, kind: int, count: int) -> bool:
        """Count if there is room as far as is known here; most requests need no more."""
        rates = self._rates
        if rates is None:
            return True
        uses, alone = self._uses(), rates.alone
        if len(uses) == 1 and uses[0].count(kind, count, alone=alone):
            return True
        for use in uses:
            if use.verdict(kind, count, alone=alone) is not YES:
                return False
        for use in uses:
            rates.add(use, kind, count)
        return True

    def _verdict(
        self, uses: Sequence[Use], wanted: Sequence[tuple[int, int]], *, asked: bool
    ) -> tuple[Verdict, Use, int, int] | None:
        """Return the first refusal, else the first question; `None` where there is room."""
        question: tuple[Verdict, Use, int, int] | None = None
        for use in uses:
            for kind, count in wanted:
                if not count and kind != TOKENS:
                    continue
                verdict = use.verdict(kind, count, alone=self._rates is None or self._rates.alone)
                if verdict is Verdict.NO:
                    return verdict, use, kind, count
                if question is None and (verdict is Verdict.ASK or (not asked and self._is_stale(use, kind))):
                    question = Verdict.ASK, use, kind, count
        return question

    def _is_stale(self, use: Use, kind: int) -> bool:
        """Tell whether a turn should ask before it begins: it costs more than to ask, and may go on for long."""
        if self._rates is None or kind not in {TOKENS, TURNS} or not use.limits[kind]:
            return False
        near = 2 * use.used[kind] >= use.limits[kind]
        return not self._rates.is_fresh(use, FRESH_NEAR if near else FRESH)

    def _add(self, uses: Sequence[Use], wanted: Sequence[tuple[int, int]]) -> Taken:
        if self._rates is not None:
            for use in uses:
                for kind, count in wanted:
                    if count:
                        self._rates.add(use, kind, count)
        return Taken(self._rates, uses, wanted)

    def _refusal(self, use: Use, kind: int, count: int) -> LimitsReached:
        assert self._rates is not None, "without rates nothing is refused"  # noqa: S101 - a mistake of ours
        limit, left = use.limits[kind], use.left(kind)
        windowed = kind != TURNS
        seconds = math.ceil(use.wait(kind, count, self._rates.now())) if windowed else 1
        seconds = max(1, seconds)
        reached = f"{HOLDERS[use.holder]} has reached its limit of {limit:,} {KINDS[kind]}"
        if windowed:
            asked = f", and this asks for {count:,}" if count > 1 else ""
            message = f"{reached} a minute: {left:,} are left{asked}. Come back in {seconds} seconds."
        else:
            message = f"{reached} at once. Come back when one of them has ended."
        return LimitsReached(
            message,
            retry_after=seconds,
            name=f"{use.holder.value}-{KINDS[kind]}",
            limit=limit,
            left=left,
            window=60 if windowed else None,
        )


UNMETERED: Final = Meter(None, "")
"""For whom nothing is limited."""
