"""What a session token may do on channels: answer its conversation's calls, and read its own dispatches."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from turnwise.server.errors import Forbidden, NotFound, Unavailable
from turnwise.server.storage.journal import Journal, Place, WaitStore

logger = logging.getLogger("turnwise.server")

__all__ = ["ChannelAccess", "FindDispatch", "WaitingChannels", "dispatches_of"]

FindDispatch = Callable[[str, str], Awaitable[str | None]]
"""Returns the conversation whose dispatch publishes on a channel (account, channel); `None` for no dispatch's."""


class ChannelAccess(Protocol):
    """Says what the holder of a conversation's token may do."""

    async def may_publish(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether a turn of the conversation waits for a message on the channel."""
        ...

    async def may_subscribe(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether a dispatch of the conversation publishes on the channel."""
        ...


def dispatches_of(journal: Journal) -> FindDispatch:
    """Return what asks a journal."""

    async def find_dispatch(account_id: str, channel_id: str) -> str | None:
        try:
            turn = await journal.find_turn(account_id, channel_id=channel_id)
        except (NotFound, Forbidden):
            return None
        return None if turn is None else turn.conversation_id

    return find_dispatch


class WaitingChannels:
    """Knows the channels that turns of this process wait on, and asks for others' and for those of dispatches."""

    def __init__(self, find_dispatch: FindDispatch, store: WaitStore | None = None) -> None:
        """Without a `store`, what turns of other processes wait on is not known."""
        self._find_dispatch = find_dispatch
        self._store = store
        self._waiting: Counter[tuple[str, str, str]] = Counter()
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def wait(self, account_id: str, conversation_id: str, channel_id: str) -> Generator[None]:
        """Let the conversation's tokens publish on a channel as long as this context."""
        key = (account_id, conversation_id, channel_id)
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    @asynccontextmanager
    async def share(self, place: Place | None, call_id: str, channel_id: str) -> AsyncGenerator[None]:
        """Let other processes know that a turn waits on a channel for a call; one without a place they do not see."""
        store = self._store
        if place is None or store is None:
            yield
            return
        try:
            await self._tell(store.begin_wait(place, call_id, channel_id))
            yield
        finally:
            # The turn does not wait for that; whoever publishes meanwhile comes too late.
            ending = asyncio.create_task(self._tell(store.end_wait(place, call_id)))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Wait until other processes know that nothing is waited for any more."""
        if self._ending:
            await asyncio.wait(self._ending)

    async def may_publish(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether a turn of the conversation waits for a message on the channel."""
        if (account_id, conversation_id, channel_id) in self._waiting:
            return True
        return self._store is not None and await self._store.waited_on(account_id, conversation_id, channel_id)

    async def may_subscribe(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether a dispatch of the conversation publishes on the channel."""
        return await self._find_dispatch(account_id, channel_id) == conversation_id

    async def _tell(self, telling: Awaitable[None]) -> None:
        """Store something; where that cannot be, only tokens that reach other processes feel it."""
        try:
            await telling
        except Unavailable:
            logger.warning("other processes do not know what a turn waits for", exc_info=True)
