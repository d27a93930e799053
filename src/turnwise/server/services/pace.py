"""How often tokens are taken from models: at once, or where many turns run, all that came within 25 ms together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Pace"]

CROWD: Final = 100
STEP: Final = 0.025


class Pace:
    """Shared by the turns of a process.

    A token that is read, told and sent by itself costs the same as ten together. That does not matter until there are
    many streams, and then nobody sees the difference.
    """

    def __init__(self, *, crowd: int = CROWD, step: float = STEP) -> None:
        """`step` is in seconds; it is waited where at least `crowd` turns run."""
        self._crowd = crowd
        self._step = step
        self._running = 0
        self._waiting: list[asyncio.Future[None]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a turn."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def step(self) -> None:
        """Wait for the next step, the same one for all, where there is a crowd."""
        if self._running < self._crowd:
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(self._step, self._go_on)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
