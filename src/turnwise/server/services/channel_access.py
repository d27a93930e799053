"""What a session token may do on channels: answer its conversation's calls, and read its own dispatches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["ChannelAccess", "FindDispatch", "WaitingChannels"]

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


async def _no_dispatch(_account_id: str, _channel_id: str) -> str | None:
    return None


class WaitingChannels:
    """Knows the channels that turns of this process wait on, and asks for those of dispatches."""

    def __init__(self, find_dispatch: FindDispatch = _no_dispatch) -> None:
        self._find_dispatch = find_dispatch
        self._waiting: Counter[tuple[str, str, str]] = Counter()

    @contextmanager
    def wait(self, account_id: str, conversation_id: str, channel_id: str) -> Iterator[None]:
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
