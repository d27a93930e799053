"""The newest messages of a channel, in memory: one for all its subscribers, however many there are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from turnwise.server.channels.base import ChannelMessage
from turnwise.server.channels.batch import Batch

__all__ = ["Bounds", "Ring"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a subscriber may fall behind, and how long messages stay in memory."""

    messages: int = 10_000
    bytes: int = 8_000_000
    seconds: float = 10.0
    """After this, a subscriber that did not read a message yet reads it from the store."""


class Ring:
    """Batches under consecutive indexes, in the order of their numbers.

    Every message numbered above `floor` is in here, or yet to come; those up to it are in the store.
    """

    def __init__(self, floor: int, bounds: Bounds) -> None:
        self.floor = floor
        self.first = 0
        """The index of the oldest batch in memory."""
        self.overrun = 0
        """Who has not read all batches below this index lags too far behind."""
        self._bounds = bounds
        self._batches: deque[tuple[Batch, float]] = deque()
        self._count = 0
        self._size = 0

    @property
    def end(self) -> int:
        """The index of the next batch."""
        return self.first + len(self._batches)

    def get(self, index: int) -> Batch:
        """Return a batch that is in memory."""
        return self._batches[index - self.first][0]

    def place(self, position: int) -> int | None:
        """Return the index of the batch to read after the message numbered `position`; `None`: it is in the store."""
        if position < self.floor:
            return None
        index = self.end
        for batch, _ in reversed(self._batches):
            if batch.last <= position:
                break
            index -= 1
        return index

    def after(self, position: int) -> list[ChannelMessage]:
        """Return the messages in memory that are numbered above `position`."""
        return [message for batch, _ in self._batches if batch.last > position for message in batch]

    def append(self, batch: Batch, moment: float, *, unstored: int) -> None:
        """Add a batch; forget old ones where there are too many, but none from the number `unstored` on."""
        self._batches.append((batch, moment))
        self._count += len(batch)
        self._size += batch.size
        bounds = self._bounds
        while len(self._batches) > 1 and (self._count > bounds.messages or self._size > bounds.bytes):
            if not self._drop(unstored):
                break
            self.overrun = self.first

    def age(self, moment: float, *, unstored: int) -> None:
        """Forget what has been in memory for long, but nothing from the number `unstored` on."""
        while self._batches and self._batches[0][1] <= moment - self._bounds.seconds:
            if not self._drop(unstored):
                break

    def _drop(self, unstored: int) -> bool:
        batch, _ = self._batches[0]
        if batch.last >= unstored:
            return False
        self._batches.popleft()
        self.first += 1
        self.floor = batch.last
        self._count -= len(batch)
        self._size -= batch.size
        return True
