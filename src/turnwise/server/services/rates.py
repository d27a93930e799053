"""Limits of accounts and session tokens, over all processes on one database.

A process counts in memory. Once a second it tells the others, through the database, what it counted, and reads what
they did; sooner, while a request waits, where little is left. So a request costs no statement, and a limit is exceeded
by a bounded part only (see `Use`). A process that is alone asks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from turnwise.server.ids import NewId
from turnwise.server.services.use import Allowance, Holder, Use
from turnwise.server.storage.base import Storage
from turnwise.server.storage.rates import PERIOD_MS, Others, Tally

__all__ = ["FRESH", "Rates"]

TICK: Final = 1.0
"""Seconds between two exchanges with other processes."""

TICK_ALONE: Final = 5.0
"""Likewise where there are none: what was counted outlives a restart. Whether one joined is looked at every `TICK`."""

FRESH: Final = 1.0
"""Seconds for which what others counted is good enough to refuse by."""

GONE: Final = -1
"""The period of what is forgotten: whoever still holds it looks it up anew."""

AT_ONCE: Final = 1000
"""Subjects that one exchange is about."""

LAST_EXCHANGE: Final = 1.0
"""Seconds for which the last one is waited."""

logger = logging.getLogger("turnwise.server")


class Rates:
    """What accounts and session tokens used, and the exchange of it with other processes, from `open` to `close`."""

    def __init__(
        self,
        storage: Storage,
        *,
        account: Allowance,
        session: Allowance,
        new_id: NewId,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.storage = storage
        self.alone = True
        """Whether no other process counts."""
        self.limited = frozenset(
            holder
            for holder, allowance in ((Holder.ACCOUNT, account), (Holder.SESSION, session))
            if allowance != Allowance()
        )
        """Whose limits there are."""
        self._allowances = {Holder.ACCOUNT: account, Holder.SESSION: session}
        self._process_id = new_id()
        self._monotonic = monotonic
        self._shift = 0.0
        """The database's clock is so far ahead of this process's, in milliseconds."""
        self._shifted = False
        """Whether that is known."""
        self._processes = 1
        self._uses: dict[str, Use] = {}
        self._changed: dict[str, Use] = {}
        self._wanted: dict[str, Use] = {}
        self._answer: asyncio.Future[bool] | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._swept = 0
        self._exchanged_at = float("-inf")
        self._away = False

    async def open(self) -> None:
        """Learn the database's clock and begin to exchange. It is done before this process has a lease on turns."""
        self._shifted = False
        others = await self._look(())
        self.alone = others.processes == 0
        self._processes = others.processes + 1
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Tell the others what was counted last."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_EXCHANGE):
                    await self._exchange()

    # What meters ask

    def now(self) -> int:
        """Return the time on the database's clock, in milliseconds."""
        return int(self._monotonic() * 1000 + self._shift)

    def period(self) -> int:
        """Return the period that runs."""
        return int(self._monotonic() * 1000 + self._shift) // PERIOD_MS

    def uses(self, subjects: Sequence[tuple[str, Holder]], period: int) -> list[Use]:
        """Return what subjects used, to be added to before anything is awaited."""
        known = self._uses
        uses: list[Use] = []
        for subject, holder in subjects:
            use = known.get(subject)
            if use is None:
                use = Use(subject, holder, self._allowances[holder], period=period, processes=self._processes)
                known[subject] = self._wanted[subject] = use  # others, or this one before a restart, may have counted
            elif use.period != period:
                use.roll(period)
            uses.append(use)
        return uses

    def add(self, use: Use, kind: int, count: int) -> None:
        """Count, and tell others soon."""
        if not use.dirty:
            self._changed[use.subject] = use
        use.add(kind, count)

    def changed(self, use: Use) -> None:
        """Tell others of it, soon."""
        self._changed[use.subject] = use

    def is_fresh(self, use: Use, seconds: float = FRESH) -> bool:
        """Tell whether what others counted was read no longer ago than that, or there are none."""
        return self.alone or self._monotonic() - use.read_at < seconds

    async def ask(self, uses: Sequence[Use]) -> bool:
        """Exchange now. False: the database does not answer."""
        if self._task is None:
            return False
        self._wanted |= {use.subject: use for use in uses}
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
        self._wake.set()
        return await asyncio.shield(self._answer)

    # The exchange

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            self._wake.clear()
            await self._tick()

    async def _tick(self) -> None:
        if self.alone and not self._wanted and self._monotonic() - self._exchanged_at < TICK_ALONE:
            with contextlib.suppress(Exception):  # the next exchange tells of it
                await self._look(())
            if self.alone:
                return
        await self._exchange()

    async def _exchange(self) -> None:
        """Tell the others what was counted, and read what they did."""
        self._exchanged_at = self._monotonic()
        self._sweep()
        asked, self._answer = self._answer, None
        batch = {**self._changed, **self._wanted}
        self._changed, self._wanted = {}, {}
        answered = False
        try:
            uses = list(batch.values())
            for first in range(0, len(uses), AT_ONCE):
                await self._exchange_some(uses[first : first + AT_ONCE])
            if not uses:
                await self._look(())
            answered, self._away = True, False
        except Exception:
            # Requests go on by what is known here; most of them fail anyway while the database is away.
            if not self._away:
                logger.warning("rates are counted without other processes for now", exc_info=True)
            self._away = True
        finally:
            if not answered:
                self._changed |= {use.subject: use for use in batch.values() if use.dirty}
            if asked is not None and not asked.done():
                asked.set_result(answered)

    async def _exchange_some(self, uses: Sequence[Use]) -> None:
        told = {use.subject: use.tallies() for use in uses}
        try:
            tallies = [tally for each, _ in told.values() for tally in each]
            if tallies:
                await self.storage.store_rates(self._process_id, tallies)
        except BaseException:
            for use in uses:
                use.untold(told[use.subject][0])
            raise
        others = await self._look([use.subject for use in uses])
        counted = _by_subject(others.counted)
        moment = self._monotonic()
        for use in uses:
            _, sent = told[use.subject]
            turns = others.turns.get(use.subject, 0)
            use.read(counted[use.subject], turns, sent=sent, processes=self._processes, moment=moment)

    async def _look(self, subjects: Sequence[str]) -> Others:
        before = self._monotonic()
        others = await self.storage.find_rates(self._process_id, subjects)
        after = self._monotonic()
        # The database's clock was read in between: a slow answer moves nothing.
        least = others.now - after * 1000
        self._shift = min(max(self._shift, least), others.now - before * 1000) if self._shifted else least
        self._shifted = True
        self._processes = max(1, others.processes)
        self.alone = others.processes <= 1
        return others

    def _sweep(self) -> None:
        """Forget who is idle, and tell in each period anew of turns that still run."""
        period = self.period()
        if period == self._swept:
            return
        self._swept = period
        for use in list(self._uses.values()):
            use.roll(period)
            if use.turns:
                use.dirty.add(period)
                self._changed[use.subject] = use
            elif use.idle and use.subject not in self._wanted:
                del self._uses[use.subject]
                use.period = GONE


def _by_subject(tallies: Sequence[Tally]) -> Mapping[str, list[Tally]]:
    found: defaultdict[str, list[Tally]] = defaultdict(list)
    for tally in tallies:
        found[tally.subject].append(tally)
    return found
