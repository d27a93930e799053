"""The port to channels: a message to everybody who listens, and to those who come back.

Messages of a channel are numbered upwards, with gaps. Whoever subscribes is told what was kept after a number, then
what comes, nothing lost or doubled at the seam. A channel belongs to an account: the same id of two accounts is two
channels.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from turnwise.server.storage.base import Once
from turnwise.server.storage.journal import Publication

__all__ = ["ChannelMessage", "Channels", "Feed", "Lagging"]


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    """A message as it was published: its number, its moment (ms), and the JSON of its data, ASCII on one line."""

    seq: int
    at: int
    data: bytes


class Lagging(Exception):
    """The subscriber reads too slowly for what is published: it is to come back, after the last number it saw."""


class Feed(Protocol):
    """The channel of a running turn. What it says reaches live subscribers at once, the disk with the next flush."""

    def say(self, messages: Sequence[bytes]) -> None:
        """Number messages and hand them to those who listen."""
        ...

    def take(self) -> Publication | None:
        """Return what was said since the last time, to be stored; `None` for nothing.

        It is to be stored in the order of these calls.
        """
        ...

    def hold(self, messages: Sequence[bytes]) -> Publication | None:
        """Number messages like `say`, but keep them back; return what `take` would, with them.

        What was held before and not released is forgotten.
        """
        ...

    def release(self) -> None:
        """Hand what was held to those who listen: it is stored."""
        ...

    def close(self) -> None:
        """Say that nothing more will come. What is held is not told."""
        ...


class Channels(Protocol):
    """All channels."""

    async def open(self) -> None:
        """Begin to listen to what other processes publish."""
        ...

    async def close(self) -> None:
        """End all subscriptions."""
        ...

    async def publish(self, account_id: str, channel_id: str, data: bytes, *, once: Once | None = None) -> int:
        """Store a message, then hand it to everybody who listens; return its number.

        With `once`, a request that is known publishes nothing and raises `AlreadyDone`.
        """
        ...

    def subscribe(
        self, account_id: str, channel_id: str, *, after: int | None = None, history: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[ChannelMessage]]]:
        """Listen: once entered, no message is missed.

        Batches begin with the kept messages numbered above `after`, or without it with the last `history` kept ones.
        A subscriber that does not keep up gets `Lagging`, after everything before it.
        """
        ...

    def wait_on(self, account_id: str, channel_id: str, /) -> AbstractAsyncContextManager[AsyncIterator[object]]:
        """Return the messages of a channel, decoded: all that are published once it is entered, and no others."""
        ...

    async def feed(self, account_id: str, channel_id: str) -> Feed:
        """Return a feed for a turn that begins or goes on: its numbers are above all that was ever told there."""
        ...
