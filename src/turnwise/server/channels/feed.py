"""The channel of a running turn: what it says is heard at once, and stored later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from turnwise.server.channels.base import ChannelMessage
from turnwise.server.channels.batch import line_of
from turnwise.server.ids import Clock
from turnwise.server.storage.journal import Publication

if TYPE_CHECKING:
    from turnwise.server.channels.hub import Hub

__all__ = ["BLOCK", "LocalFeed"]

BLOCK: Final = 2**20
"""Numbers that a turn sets aside at once: those it told of and could not store are never given out again."""

LOW: Final = 2**16
"""With fewer numbers left, more are asked for."""


class LocalFeed:
    """A feed that speaks to the subscribers of this process."""

    def __init__(self, hub: Hub, first: int, *, clock: Clock, closed: Callable[[], None]) -> None:
        """`first` is the first of its numbers; `closed` is called once, when nothing more will come."""
        self._hub = hub
        self._clock = clock
        self._closed: Callable[[], None] | None = closed
        self._said: list[bytes] = []
        self._held: list[ChannelMessage] = []
        self._next = first
        self._moment = 0
        self._earlier = first
        self.end = first + BLOCK
        """The first number that is not its own."""
        self.unstored = first
        """Messages from this number on may not be in the store yet."""

    @property
    def taken(self) -> bool:
        """Whether nothing waits to be stored, or to be told once it is."""
        return not self._said and not self._held

    def go_on(self, first: int) -> None:
        """Use the block of numbers from `first` on. Only when everything was taken."""
        self._next = first
        self.end = first + BLOCK

    def say(self, messages: Sequence[bytes]) -> None:
        """Number messages and hand them to those who listen. Nobody hears a feed that another has followed."""
        numbered = self._number(messages)
        if numbered:
            self._hub.append(numbered)
            self._ask_for_more()

    def hold(self, messages: Sequence[bytes]) -> Publication | None:
        """Number messages, keep them back, and return them with what was said since the last time."""
        self._held = self._number(messages)
        return self._publication()

    def release(self) -> None:
        """Tell what was held. What others published meanwhile is told after it."""
        held, self._held = self._held, []
        if held and self._hub.feed is self:
            self._hub.append(held)
            self._hub.taken()
            self._ask_for_more()

    def take(self) -> Publication | None:
        """Return what was said since the last time."""
        publication = self._publication()
        if publication is not None and not self._held:
            self._hub.taken()
        return publication

    def _number(self, messages: Sequence[bytes]) -> list[ChannelMessage]:
        if self._hub.feed is not self or not messages:
            return []
        self._moment = moment = self._clock()
        lines = [line_of(data) for data in messages]
        first, self._next = self._next, self._next + len(lines)
        self._said += lines
        return [ChannelMessage(seq, moment, line) for seq, line in enumerate(lines, first)]

    def _ask_for_more(self) -> None:
        if self.end - self._next < LOW:
            self._hub.renumber()

    def _publication(self) -> Publication | None:
        if not self._said:
            return None
        said, self._said = self._said, []
        last = self._next - 1
        # What was taken last may still be on its way to the disk; what was taken before that has arrived.
        self.unstored, self._earlier = self._earlier, last + 1 - len(said)
        return Publication(
            account_id=self._hub.account_id,
            channel_id=self._hub.channel_id,
            data=b"\n".join(said),
            count=len(said),
            now=self._moment,
            last_seq=last,
        )

    def close(self) -> None:
        """Say that nothing more will come."""
        if self._closed is not None:
            closed, self._closed = self._closed, None
            self._hub.unplug(self)
            closed()
