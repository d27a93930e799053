"""One channel of one account, as long as somebody in this process listens to it or speaks on it.

Messages reach subscribers in the order of their numbers. The next number is told at once; where numbers are missing
(another process published, or a publisher here went away) everything since is read from the store. A turn has numbers
of its own, a block set aside; what others publish meanwhile is numbered above, so it is told when the turn has stored
what it said, and the turn goes on above it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from turnwise.server.channels.base import ChannelMessage
from turnwise.server.channels.batch import Batch, unpack
from turnwise.server.channels.feed import BLOCK, LocalFeed
from turnwise.server.channels.ring import Bounds, Ring
from turnwise.server.ids import Clock
from turnwise.server.storage.journal import ChannelRow, ChannelStore

__all__ = ["Hub"]

logger = logging.getLogger("turnwise.server")

PAGE: Final = 64
NOTHING_UNSTORED: Final = 2**63

SECONDS_A_READER: Final = 0.0001
"""What it takes to wake one subscriber and send it a batch: no more is told in a second than can be."""

LONGEST_GATHERING: Final = 0.1

JUMP: Final = 2**16
"""So many missing numbers were set aside for a turn elsewhere; the last of its messages may be a moment late."""

LATE: Final = 0.4


@dataclass(slots=True)
class Renumbering:
    """What was published beside a turn, and the first number with which the turn goes on after it."""

    messages: Sequence[ChannelMessage]
    first: int


class Hub:
    """What is known of a channel here."""

    def __init__(self, store: ChannelStore, account_id: str, channel_id: str, *, clock: Clock, bounds: Bounds) -> None:
        self.account_id = account_id
        self.channel_id = channel_id
        self.users = 0
        """Subscribers and feeds."""
        self.readers = 0
        self.closed = False
        self.feed: LocalFeed | None = None
        self.seen = 0
        """The number of the last message that was told, or is about to be."""
        self.epoch = 0
        """How often numbering began anew."""
        self.ring = Ring(0, bounds)
        self._store = store
        self._clock = clock
        self._bounds = bounds
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._started = False
        self._offered = 0
        self._jumped = 0
        self._work: asyncio.Task[None] | None = None
        self._renumbering: Renumbering | None = None
        self._gathered: list[ChannelMessage] = []
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    # What is known

    async def start(self) -> None:
        """Find out what the channel's last message is, the first time."""
        if not self._started:
            async with self._lock:
                await self._start()

    async def _start(self) -> None:
        if not self._started:
            self.seen = await self.stored_seq()
            self.ring = Ring(self.seen, self._bounds)
            self._started = True
            if self._offered > self.seen:
                self.keep_up()

    async def stored_seq(self) -> int:
        """Return the number of the last stored message."""
        (seq,) = await self._store.stored_seqs([(self.account_id, self.channel_id)])
        return seq

    async def rows(self, after: int, limit: int) -> Sequence[ChannelRow]:
        """Return stored rows."""
        return await self._store.channel_rows(
            self.account_id, self.channel_id, after=after, limit=limit, now=self._clock()
        )

    async def position(self, after: int | None, history: int) -> int:
        """Return the number after which a subscriber begins."""
        if after is not None:
            newest = max(await self._store.channel_seq(self.account_id, self.channel_id), self.seen)
            # Where numbering began anew, a subscriber that comes back has seen nothing of it.
            return max(after, 0) if after <= newest else 0
        stored = await self.stored_seq()
        if history:
            return await self._history(stored, history)
        return self.seen if self.feed is not None else max(stored, self.seen)

    async def _history(self, stored: int, length: int) -> int:
        """Return the number after which the last `length` messages begin, those not stored yet included."""
        while True:
            fresh = [*self.ring.after(stored), *self._gathered] if self.feed is not None else []
            fresh = [message for message in fresh if message.seq > stored]
            if length <= len(fresh):
                return fresh[-length].seq - 1
            start = await self._store.channel_history(
                self.account_id, self.channel_id, length=length - len(fresh), now=self._clock()
            )
            if not fresh or stored == (stored := await self.stored_seq()):
                return start

    # What comes

    def offer(self, messages: Sequence[ChannelMessage]) -> None:
        """Tell what was published together, here or by another process, and is stored."""
        last = messages[-1].seq
        self._offered = max(self._offered, last)
        if not self._started:
            return
        if self.feed is None and messages[0].seq <= self.seen + 1:
            self.append(messages)
        elif last > self.seen:
            self.keep_up()

    def notice(self, stored: int) -> None:
        """Tell what another process published, if there is any: `stored` is the number of the last stored message."""
        if not self._started:
            return
        if stored > self.seen:
            self._offered = max(self._offered, stored)
            self.keep_up()
        elif stored == 0 and self.seen and self.feed is None and not self.ring.after(0):
            # After a long silence the store forgets how far a channel was numbered.
            self.seen = self._offered = self._jumped = self.ring.floor = 0
            self.epoch += 1

    def keep_up(self) -> None:
        """Tell what is stored and was not told yet."""
        if self._work is None and self._renumbering is None and not self.closed:
            self._work = asyncio.create_task(self._keep_up())

    def renumber(self) -> None:
        """Let the feed go on with other numbers: its own run out."""
        self._offered = max(self._offered, self.seen + 1)
        self.keep_up()

    async def _keep_up(self) -> None:
        try:
            async with self._lock:
                while self._offered > self.seen and self._renumbering is None:
                    await self._read_on()
        except Exception:  # a later look reads the same again
            logger.warning("a channel could not be read", exc_info=True)
        finally:
            self._work = None

    async def _read_on(self) -> None:
        if self.feed is not None:
            await self._read_beside(self.feed)
            return
        wanted, last = self._offered, self.seen
        messages = await self._stored(last, NOTHING_UNSTORED)
        for index, message in enumerate(messages):
            if message.seq - last > JUMP and message.seq != self._jumped:
                self.append(messages[:index])
                self._jumped = message.seq
                await asyncio.sleep(LATE)
                return
            last = message.seq
        self.append(messages)
        if self._offered == wanted:
            self._offered = self.seen

    async def _read_beside(self, feed: LocalFeed) -> None:
        first = await self._store.reserve_numbers(self.account_id, self.channel_id, BLOCK)
        self._renumbering = Renumbering(await self._stored(feed.end - 1, first), first)
        if feed.taken or self.feed is not feed:
            self.taken()

    async def _stored(self, after: int, below: int) -> list[ChannelMessage]:
        messages: list[ChannelMessage] = []
        begin, more = after, True
        while more:
            rows = await self.rows(begin, PAGE)
            more = len(rows) == PAGE and rows[-1].seq < below
            begin = rows[-1].seq if rows else begin
            messages += [message for message in unpack(rows) if after < message.seq < below]
        return messages

    # Turns

    async def plug(self, closed: Callable[[], None]) -> LocalFeed:
        """Return a feed whose numbers are above all that were ever told; an earlier feed is heard no more."""
        async with self._lock:
            await self._start()
            self.feed = None
            self._renumbering = None
            first = await self._store.reserve_numbers(self.account_id, self.channel_id, BLOCK)
            self.append(await self._stored(self.seen, first))
            self.seen = max(self.seen, first - 1)
            self.feed = LocalFeed(self, first, clock=self._clock, closed=closed)
            return self.feed

    def unplug(self, feed: LocalFeed) -> None:
        """Expect nothing more from a feed."""
        if self.feed is feed:
            self.taken()
            self.feed = None
            if feed.taken:
                self.seen = max(self.seen, feed.end - 1)
            # Else what it left may be stored, though it could not hear of that: it is read from there.
            if self._offered > self.seen:
                self.keep_up()

    def taken(self) -> None:
        """Tell what was published beside the turn, now that everything the turn said is on its way to the disk."""
        renumbering, self._renumbering = self._renumbering, None
        if renumbering is None:
            return
        self.append(renumbering.messages)
        self.seen = max(self.seen, renumbering.first - 1)
        if self.feed is not None:
            self.feed.go_on(renumbering.first)
        else:
            self.seen += BLOCK
        if self._offered > self.seen:
            self.keep_up()

    # Those who listen

    def append(self, messages: Sequence[ChannelMessage]) -> None:
        """Tell messages, in order, but for those that were told."""
        fresh = [message for message in messages if message.seq > self.seen]
        if fresh:
            self.seen = fresh[-1].seq
            self._gathered += fresh
            if self._timer is None:
                self._tell_in_time()

    def _tell_in_time(self) -> None:
        """Tell at once, or after as long as the subscribers may still need for what they were told last."""
        moment = self._loop.time()
        free = self._told_at + min(self.readers * SECONDS_A_READER, LONGEST_GATHERING)
        if self.readers < 2 or moment >= free:
            self._tell()
        else:
            self._timer = self._loop.call_at(free, self._tell)

    def _tell(self) -> None:
        self._timer = None
        if not self._gathered:
            return
        self._told_at = moment = self._loop.time()
        batch, self._gathered = Batch(self._gathered), []
        self.ring.append(batch, moment, unstored=self._unstored)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def more(self) -> None:
        """Wait until there are more batches, or the hub closes."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    @property
    def _unstored(self) -> int:
        return self.feed.unstored if self.feed is not None else NOTHING_UNSTORED

    def age(self) -> None:
        """Forget what has been in memory for long."""
        self.ring.age(self._loop.time(), unstored=self._unstored)

    def close(self) -> None:
        """End all subscriptions, once they have read what was told."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell()
        self.closed = True
        if self._work is not None:
            self._work.cancel()
        self._wake()
