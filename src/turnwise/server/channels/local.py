# ruff: noqa: D102 - the port, base.py, says what each method promises
"""Channels of one process, or of several that share a store.

Subscribers hear at once what is published in their process. What others publish comes with their notices; it is looked
for ten times a second where there are none, and once a second where there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec

from turnwise.server.channels.base import ChannelMessage, Lagging
from turnwise.server.channels.batch import Batch, line_of, unpack
from turnwise.server.channels.feed import LocalFeed
from turnwise.server.channels.hub import Hub
from turnwise.server.channels.ring import Bounds
from turnwise.server.channels.told import Told
from turnwise.server.errors import Unavailable
from turnwise.server.ids import Clock
from turnwise.server.ids import now as wall_clock
from turnwise.server.storage.base import Once
from turnwise.server.storage.journal import ChannelStore, Publication
from turnwise.server.storage.notices import CHANNEL, Notices, Silence

__all__ = ["LocalChannels", "LocalSubscription"]

logger = logging.getLogger("turnwise.server")

AT_ONCE: Final = 500
"""Channels that are asked for with one query."""

RARELY: Final = 1.0
"""Seconds from look to look while others tell what they publish."""

IDLE: Final = 20
"""A look may take a twentieth of the time."""

FIRST_ROWS: Final = 16
MOST_ROWS: Final = 2_000
PAGE_BYTES: Final = 500_000


class LocalChannels:
    """All channels, as this process knows them."""

    def __init__(
        self,
        store: ChannelStore,
        *,
        notices: Notices | None = None,
        clock: Clock = wall_clock,
        bounds: Bounds | None = None,
        interval: float = 0.1,
        rarely: float = RARELY,
    ) -> None:
        """Seconds from look to look for what other processes published: `interval`, `rarely` while notices come."""
        self._store = store
        self._notices = notices or Silence()
        self._rarely = rarely
        self._soon = asyncio.Event()
        self._deaf: Callable[[], None] | None = None
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._interval = interval
        self._hubs: dict[tuple[str, str], Hub] = {}
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def known(self) -> int:
        """How many channels have a subscriber or a feed here."""
        return len(self._hubs)

    async def open(self) -> None:
        self._closed = False
        self._deaf = self._notices.subscribe(CHANNEL, heard=self._hear, missed=self._soon.set)
        self._watch = asyncio.create_task(self._look_for_others())

    async def close(self) -> None:
        self._closed = True
        if self._deaf is not None:
            self._deaf()
        for hub in self._hubs.values():
            hub.close()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    async def publish(self, account_id: str, channel_id: str, data: bytes, *, once: Once | None = None) -> int:
        line, moment = line_of(data), self._clock()
        publication = Publication(account_id=account_id, channel_id=channel_id, data=line, count=1, now=moment)
        (seq,) = await self._store.publish([publication], once=once)
        hub = self._hubs.get((account_id, channel_id))
        if hub is not None:
            hub.offer([ChannelMessage(seq, moment, line)])
        return seq

    @asynccontextmanager
    async def subscribe(
        self, account_id: str, channel_id: str, *, after: int | None = None, history: int = 0
    ) -> AsyncGenerator[AsyncIterator[Sequence[ChannelMessage]]]:
        if self._closed:
            raise Unavailable("The server is stopping. Subscribe again in a moment.", retry_after=1)
        hub = self._enter(account_id, channel_id)
        hub.readers += 1
        try:
            await hub.start()
            yield LocalSubscription(hub, await hub.position(after, history))
        finally:
            hub.readers -= 1
            self._leave(hub)

    @asynccontextmanager
    async def wait_on(self, account_id: str, channel_id: str, /) -> AsyncGenerator[AsyncIterator[object]]:
        async with self.subscribe(account_id, channel_id) as batches, aclosing(_decoded(batches)) as messages:
            yield messages

    async def feed(self, account_id: str, channel_id: str) -> LocalFeed:
        hub = self._enter(account_id, channel_id)
        try:
            return await hub.plug(lambda: self._leave(hub))
        except BaseException:
            self._leave(hub)
            raise

    def _enter(self, account_id: str, channel_id: str) -> Hub:
        hub = self._hubs.get((account_id, channel_id))
        if hub is None:
            hub = Hub(self._store, account_id, channel_id, clock=self._clock, bounds=self._bounds)
            self._hubs[account_id, channel_id] = hub
        hub.users += 1
        return hub

    def _leave(self, hub: Hub) -> None:
        hub.users -= 1
        if not hub.users:
            hub.close()
            del self._hubs[hub.account_id, hub.channel_id]

    def _hear(self, body: bytes) -> None:
        """Tell what another process published."""
        try:
            told = Told.of(body)
        except msgspec.DecodeError:  # of another version
            self._soon.set()
            return
        hub = self._hubs.get((told.account_id, told.channel_id))
        if hub is None:
            return
        if told.messages is None:
            hub.notice(told.seq)
        else:
            hub.offer(told.messages)

    async def _look_for_others(self) -> None:
        loop = asyncio.get_running_loop()
        took = 0.0
        while True:
            usual = self._rarely if self._notices.listening else self._interval
            pause = max(usual, IDLE * took)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._soon.wait()
            self._soon.clear()
            began = loop.time()
            try:
                await self._look()
            except Exception:  # the next look finds the same
                logger.warning("the channels could not be looked at", exc_info=True)
            took = loop.time() - began

    async def _look(self) -> None:
        hubs = list(self._hubs.values())
        for begin in range(0, len(hubs), AT_ONCE):
            some = hubs[begin : begin + AT_ONCE]
            stored = await self._store.stored_seqs([(hub.account_id, hub.channel_id) for hub in some])
            for hub, seq in zip(some, stored, strict=True):
                hub.notice(seq)
                hub.age()


class LocalSubscription:
    """Reads a channel from a message on: from the store as far as it must, then from memory.

    An iteration that was cancelled has taken nothing: the next one goes on where it began.
    """

    def __init__(self, hub: Hub, position: int) -> None:
        self._hub = hub
        self._position = position
        self._index: int | None = None
        self._epoch = hub.epoch
        self._limit = FIRST_ROWS

    def __aiter__(self) -> LocalSubscription:
        return self

    async def __anext__(self) -> Batch:
        """Return the next messages. Raises `Lagging`."""
        hub = self._hub
        while True:
            index = self._place()
            if hub.closed and (index is None or index == hub.ring.end):
                raise StopAsyncIteration
            if index is None:
                batch = await self._from_store()
            elif index == hub.ring.end:
                await hub.more()
                continue
            else:
                batch = self._from_memory(hub.ring.get(index))
                self._index = index + 1
            if batch:
                return batch

    def _place(self) -> int | None:
        """Return where in memory to read on, if it is there."""
        ring = self._hub.ring
        if self._epoch != self._hub.epoch:
            self._epoch, self._position, self._index = self._hub.epoch, 0, None
        if self._index is not None and self._index < ring.overrun:
            raise Lagging
        if self._index is None or self._index < ring.first:
            self._index = ring.place(self._position)
        return self._index

    def _from_memory(self, batch: Batch) -> Batch | None:
        """Return what is new of a batch; all of it is the one object that all subscribers get."""
        position = self._position
        if batch.last <= position:
            return None
        self._position = batch.last
        return batch if batch.first > position else Batch(message for message in batch if message.seq > position)

    async def _from_store(self) -> Batch | None:
        """Return what is stored after the position, up to where memory begins."""
        floor, limit, position = self._hub.ring.floor, self._limit, self._position
        rows = await self._hub.rows(position, limit)
        ended = len(rows) < limit or rows[-1].seq >= floor
        self._position = floor if ended else rows[-1].seq
        size = sum(len(row.data) for row in rows) // max(len(rows), 1)
        self._limit = min(max(PAGE_BYTES // max(size, 1), 1), MOST_ROWS)
        return Batch(message for message in unpack(rows) if position < message.seq <= floor)


async def _decoded(batches: AsyncIterator[Sequence[ChannelMessage]]) -> AsyncGenerator[object]:
    async for batch in batches:
        for message in batch:
            yield msgspec.json.decode(message.data)
