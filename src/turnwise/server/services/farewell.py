"""What a process that stops tells the others, for as long as the database listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Final

__all__ = ["Farewell"]

SHORTEST: Final = 0.2
"""Seconds that each write is waited for at least."""


class Farewell:
    """Waits for the last writes of a process, for so many seconds in all.

    A write that is no longer waited for is made all the same, where the database answers before the storage is closed.
    One that is not made costs others the time in which the lease lapses, and nothing else.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @property
    def left(self) -> float:
        """Seconds for which the next one is waited."""
        return max(self._left, SHORTEST)

    async def wait(self, work: Awaitable[None]) -> None:
        """Wait for a write."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.left):
                await work
        self._left -= loop.time() - began
