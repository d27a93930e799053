"""Time that passes as soon as nothing is left to do: what takes seconds takes none, and the same ones each time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["quickly"]

T = TypeVar("T")


class QuickSelector(selectors.DefaultSelector):
    """Waits for nothing, but says how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.now += max(timeout, 0)
        return super().select(0)


class QuickLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes as soon as nothing is left to do."""

    def __init__(self) -> None:
        self._quick = QuickSelector()
        super().__init__(self._quick)

    def time(self) -> float:
        return self._quick.now


def quickly(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a scenario in a loop of its own."""
    loop = QuickLoop()
    try:
        return loop.run_until_complete(scenario())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
