"""One turn at a time in each conversation, first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from turnwise.server.errors import Conflict

__all__ = ["TurnOrder"]


@dataclass(slots=True)
class Queue:
    """Who holds a conversation, and how many want it (the holder included)."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class TurnOrder:
    """Hands conversations out, each to one turn at a time, in the order they were asked for."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str], Queue] = {}

    @asynccontextmanager
    async def turn_in(self, account_id: str, conversation_id: str, *, wait: float | None) -> AsyncGenerator[None]:
        """Hold the conversation. Raises `Conflict` where it is not free within `wait` seconds (`None`: ever)."""
        key = (account_id, conversation_id)
        queue = self._queues.setdefault(key, Queue())
        queue.users += 1
        try:
            await _acquire(queue.lock, wait)
            try:
                yield
            finally:
                queue.lock.release()
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[key]


async def _acquire(lock: asyncio.Lock, wait: float | None) -> None:
    if wait is None or not lock.locked():
        await lock.acquire()
        return
    try:
        async with asyncio.timeout(wait):
            await lock.acquire()
    except TimeoutError:
        message = (
            f"Another turn of this conversation is still running after {wait:g} seconds. "
            "Wait until its reply is there, then send this request again."
        )
        raise Conflict(message) from None
