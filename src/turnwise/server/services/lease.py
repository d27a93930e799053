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

ADOPT_AT_ONCE: Final = 32
"""Turns that one commit takes over."""

SHARE_SECONDS: Final = 0.02
"""Seconds between two such commits, in which other processes take their share."""

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
        room: Callable[[], int],
    ) -> None:
        """`lost` is called when all that this process ran is somebody else's, `adopt` with what became its own.

        `room` tells how many turns more may run here: without room, turns that have not begun are left to others.
        """
        self._journal = journal
        self._new_id = new_id
        self._clock = clock
        self._lost = lost
        self._adopt = adopt
        self._room = room
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._retired = False
        self._left = False
        self.others = 0
        """How many other processes had a lease when it was looked last."""
        self.process_id = new_id()

    async def open(self) -> None:
        """Begin the lease."""
        await self._journal.register_process(self.process_id, lease_ms=LEASE_MS)
        self._task = asyncio.create_task(self._hold())

    @property
    def held(self) -> bool:
        """Whether it is open."""
        return self._task is not None

    def retire(self) -> None:
        """Hold what there is, and adopt nothing more."""
        self._retired = True

    def look(self) -> None:
        """Look at once for what others left."""
        self._wake.set()

    def leave_something(self) -> None:
        """Look again as soon as there is room: this process has left something to whoever has some."""
        self._left = True
        if self._room() > 0:
            self._wake.set()

    def look_if_left(self) -> None:
        """Look at once if there was something for which there was no room."""
        if self._left:
            self._wake.set()

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
        loop = asyncio.get_running_loop()
        renew_at = loop.time()
        while True:
            self._wake.clear()
            try:
                if loop.time() >= renew_at:
                    renew_at = loop.time() + RENEW_SECONDS
                    await self._renew()
                    self.others = await self._journal.other_processes(self.process_id)
                await self._adopt_what_lapsed(renew_at)
            except Unavailable as error:
                logger.warning("the lease could not be renewed; it is tried again: %s", error)
            except Exception:
                logger.exception("the lease could not be renewed; it is tried again")
            try:
                async with asyncio.timeout_at(renew_at):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _renew(self) -> None:
        if not await self._journal.renew_process(self.process_id, lease_ms=LEASE_MS):
            logger.warning("the lease lapsed: this process, or its database, was stopped or blocked for too long")
            self._lost()
            self.process_id = self._new_id()
            await self._journal.register_process(self.process_id, lease_ms=LEASE_MS)

    async def _adopt_what_lapsed(self, until: float) -> None:
        """Take turns over, a few at a time, until there are no more, no room, or the lease is to be renewed."""
        loop = asyncio.get_running_loop()
        while not self._retired:
            room = self._room()
            self._left = room <= 0  # before it is asked: what is left, or room that comes, meanwhile counts
            limit = min(ADOPT_AT_ONCE, room) if room > 0 else ADOPT_AT_ONCE
            rows = await self._journal.claim_lapsed(self.process_id, limit=limit, now=self._clock(), waiting=room > 0)
            self._adopt(rows)
            if not rows:
                return
            if loop.time() >= until:
                self._wake.set()
                return
            await asyncio.sleep(SHARE_SECONDS)
