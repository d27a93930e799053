"""A process's lease on the turns it runs, and its eye on processes that lost theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from turnwise.server.errors import Unavailable
from turnwise.server.ids import Clock, NewId
from turnwise.server.storage.journal import Journal, TurnRow

__all__ = ["Lease"]

LEASE_MS: Final = 6000
RENEW_SECONDS: Final = 2.0
ADOPT_AT_ONCE: Final = 500
"""Turns that one commit takes over; where there are more, the next commit follows at once."""

logger = logging.getLogger("turnwise.server")


class Lease:
    """Held from `open` to `close`, under a new process id whenever it was lost in between."""

    def __init__(
        self,
        journal: Journal,
        *,
        new_id: NewId,
        clock: Clock,
        lost: Callable[[], None],
        adopt: Callable[[Sequence[TurnRow]], None],
    ) -> None:
        """`lost` is called when all that this process ran is somebody else's, `adopt` with what became its own."""
        self._journal = journal
        self._new_id = new_id
        self._clock = clock
        self._lost = lost
        self._adopt = adopt
        self._task: asyncio.Task[None] | None = None
        self.process_id = new_id()

    async def open(self) -> None:
        """Begin the lease."""
        await self._journal.register_process(self.process_id, lease_ms=LEASE_MS)
        self._task = asyncio.create_task(self._hold())

    async def close(self) -> None:
        """End the lease: what is still running here can be adopted at once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            try:
                await self._journal.leave_process(self.process_id)
            except Unavailable:
                logger.warning("the lease could not be ended; it is left to lapse", exc_info=True)

    async def _hold(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                logger.exception("the lease could not be renewed; it is tried again")
            await asyncio.sleep(RENEW_SECONDS)

    async def _look(self) -> None:
        if not await self._journal.renew_process(self.process_id, lease_ms=LEASE_MS):
            logger.warning("the lease lapsed: this process was stopped or blocked for too long")
            self._lost()
            self.process_id = self._new_id()
            await self._journal.register_process(self.process_id, lease_ms=LEASE_MS)
        while rows := await self._journal.claim_lapsed(self.process_id, limit=ADOPT_AT_ONCE, now=self._clock()):
            self._adopt(rows)
