"""Messages that are handed to all subscribers together, and what is stored of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from turnwise.server.channels.base import ChannelMessage
from turnwise.server.encode import ascii_json
from turnwise.server.storage.journal import ChannelRow

__all__ = ["Batch", "line_of", "unpack"]


class Batch(tuple[ChannelMessage, ...]):  # noqa: SLOT001 - it keeps what is made of it
    """Messages in order, at least one, shared by everybody they are handed to."""

    _made: dict[object, bytes]

    @property
    def first(self) -> int:
        """The number of the first message."""
        return self[0].seq

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self[-1].seq

    @property
    def size(self) -> int:
        """The bytes of its messages."""
        return sum(len(message.data) for message in self)

    def once(self, name: object, make: Callable[[Sequence[ChannelMessage]], bytes]) -> bytes:
        """Return what `make` makes of the messages; it is asked once a name, however many subscribers there are."""
        try:
            made = self._made
        except AttributeError:
            made = self._made = {}
        if name not in made:
            made[name] = make(self)
        return made[name]


def line_of(data: bytes) -> bytes:
    """Return the same JSON, in ASCII, on one line."""
    return ascii_json(msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data)


def unpack(rows: Iterable[ChannelRow]) -> list[ChannelMessage]:
    """Return the messages of rows."""
    messages: list[ChannelMessage] = []
    for row in rows:
        lines = row.data.rstrip(b"\n").split(b"\n")
        begin, at = row.seq - len(lines) + 1, row.at
        messages += [ChannelMessage(seq, at, line) for seq, line in enumerate(lines, begin)]
    return messages
