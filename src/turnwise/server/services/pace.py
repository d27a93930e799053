"""How often tokens are taken from models: at once, or where many turns run, all that came within a step together."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

__all__ = ["Pace"]

CROWD: Final = 100
A_TURN: Final = 0.00016
"""Seconds: about what it takes to read, tell and send a batch of one turn."""
LONGEST: Final = 0.05


class Pace:
    """Shared by the turns of a process.

    A token that is read, told and sent by itself costs the same as ten together. That does not matter until there are
    many streams, and then nobody sees the difference.
    """

    def __init__(self, *, crowd: int = CROWD, a_turn: float = A_TURN, longest: float = LONGEST) -> None:
        """Where at least `crowd` turns run, a step takes `a_turn` seconds for each of them, `longest` at most."""
        self._crowd = crowd
        self._a_turn = a_turn
        self._longest = longest
        self._running = 0
        self._waiting: list[asyncio.Future[None]] = []

    @contextmanager
    def running(self) -> Generator[None]:
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
            loop.call_later(min(self._running * self._a_turn, self._longest), self._go_on)
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
