"""What the tests of channels are made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from turnwise.server.channels.base import ChannelMessage, Channels, Feed
from turnwise.server.channels.ring import Bounds
from turnwise.server.storage.journal import ChannelStore

__all__ = ["ACCOUNT", "CHANNEL", "Batches", "ChannelScene", "data_of", "read", "rest"]

ACCOUNT = "account-me"
CHANNEL = "channel-of-16-chars"

Batches = AsyncIterator[Sequence[ChannelMessage]]


@dataclass
class ChannelScene:
    """The channels of a process, and of others on the same store."""

    store: ChannelStore
    channels: Channels
    begin: Callable[[Bounds | None], Awaitable[Channels]]

    async def process(self, bounds: Bounds | None = None) -> Channels:
        """Return the channels of another process."""
        return await self.begin(bounds)

    async def publish(self, *texts: object, channel: str = CHANNEL, account: str = ACCOUNT) -> int:
        """Publish messages; return the last one's number."""
        seq = 0
        for text in texts:
            seq = await self.channels.publish(account, channel, str(text).encode())
        return seq

    async def flush(self, feed: Feed) -> None:
        """Store what a feed said, as the flusher does."""
        publication = feed.take()
        if publication is not None:
            await self.store.publish([publication])

    async def kept(self, least: int = 0, **start: int) -> list[int]:
        """Return what somebody is told who subscribes now: so many, and what comes until nothing comes for a moment."""
        async with self.channels.subscribe(ACCOUNT, CHANNEL, **start) as batches:
            return data_of(await rest(batches, least=least))


def data_of(messages: Sequence[ChannelMessage]) -> list[int]:
    """Return messages that are numbers."""
    return [int(message.data) for message in messages]


async def read(batches: Batches, count: int) -> list[ChannelMessage]:
    """Return the next messages, `count` of them."""
    messages: list[ChannelMessage] = []
    async with asyncio.timeout(60):
        while len(messages) < count:
            messages += await anext(batches)
    assert len(messages) == count, messages
    return messages


async def rest(batches: Batches, silence: float = 0.05, *, least: int = 0, last: int = 0) -> list[ChannelMessage]:
    """Return the messages that come until none comes for `silence` seconds.

    The first, `least` of them, and the one that is numbered `last` are waited for as long as it takes.
    """
    messages: list[ChannelMessage] = []
    async with asyncio.timeout(60):
        while len(messages) < least or (last and not any(message.seq == last for message in messages)):
            messages += await anext(batches)
    try:
        while True:
            async with asyncio.timeout(silence):
                messages += await anext(batches)
    except TimeoutError:
        return messages
