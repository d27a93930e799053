"""What a session token may do on channels: answer its conversation's calls, and read its own dispatches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from turnwise.server.errors import Forbidden, NotFound
from turnwise.server.storage.journal import Journal

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
    """Knows the channels that turns of this process wait on, and asks for those of dispatches."""

    def __init__(self, find_dispatch: FindDispatch) -> None:
        self._find_dispatch = find_dispatch
        self._waiting: Counter[tuple[str, str, str]] = Counter()

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

    async def may_publish(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether a turn of the conversation waits for a message on the channel."""
        return (account_id, conversation_id, channel_id) in self._waiting

    async def may_subscribe(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether a dispatch of the conversation publishes on the channel."""
        return await self._find_dispatch(account_id, channel_id) == conversation_id
