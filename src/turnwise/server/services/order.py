"""First come, first served: the line of turns that wait for others of their conversation, in this process or another.

The line itself is in the journal. Here is who waits in this process: one task asks the journal on behalf of them all
which of them have come to the front.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from turnwise.server.storage.journal import Journal

__all__ = ["TurnOrder"]

LOOK_AGAIN: Final = 0.05
"""Seconds after which the journal is asked again, unless somebody says that the line has moved."""

AT_ONCE: Final = 0.005
"""Seconds between two looks at least."""

logger = logging.getLogger("turnwise.server")


class TurnOrder:
    """Tells turns when they are the first of their conversations."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def first(self, turn_id: str) -> None:
        """Wait until a turn that is stored as `waiting` need wait no more, or waits no more."""
        front: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn_id] = front
        self.look()
        if self._task is None:
            self._task = asyncio.create_task(self._look_forever())
        try:
            await front
        finally:
            if self._waiting.get(turn_id) is front:  # a turn that was adopted again waits under the same id
                del self._waiting[turn_id]

    def look(self) -> None:
        """Look at once: the line may have moved."""
        self._moved.set()

    async def close(self) -> None:
        """Stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _look_forever(self) -> None:
        while self._waiting:
            self._moved.clear()
            try:
                await self._look()
            except Exception:  # the next look finds the same
                logger.warning("the turns that wait could not be looked at; it is tried again", exc_info=True)
            await asyncio.sleep(AT_ONCE)
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._moved.wait()
            except TimeoutError:
                continue
        self._task = None

    async def _look(self) -> None:
        for turn_id in await self._journal.first_of(list(self._waiting)):
            front = self._waiting.get(turn_id)
            if front is not None and not front.done():
                front.set_result(None)
