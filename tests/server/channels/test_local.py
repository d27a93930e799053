"""What is particular to channels of one process: their cost, and what they keep in memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.channels.memory import MemoryStore
from tests.server.channels.scene import ACCOUNT, CHANNEL, Batches, data_of, read, rest
from tests.server.services.stage import until

from turnwise.server.channels.base import ChannelMessage, Lagging
from turnwise.server.channels.batch import Batch
from turnwise.server.channels.local import LocalChannels
from turnwise.server.channels.ring import Bounds
from turnwise.server.negotiate import Form
from turnwise.server.storage.journal import ChannelRow
from turnwise.server.subscription import encode_messages


@pytest.fixture
async def channels() -> AsyncIterator[LocalChannels]:
    channels = LocalChannels(MemoryStore(), interval=0.02)
    await channels.open()
    yield channels
    await channels.close()


async def test_a_channel_that_nobody_needs_is_forgotten(channels: LocalChannels) -> None:
    feed = await channels.feed(ACCOUNT, CHANNEL)
    async with channels.subscribe(ACCOUNT, CHANNEL), channels.subscribe(ACCOUNT, CHANNEL):
        assert channels.known == 1
    assert channels.known == 1
    feed.close()
    feed.close()
    assert channels.known == 0
    await channels.publish(ACCOUNT, CHANNEL, b"1")
    assert channels.known == 0


async def test_a_channel_whose_store_fails_is_forgotten() -> None:
    class Broken(MemoryStore):
        async def stored_seqs(self, channels: Sequence[tuple[str, str]]) -> Sequence[int]:
            raise OSError("the disk is away")

    channels = LocalChannels(Broken())
    for begin in (channels.subscribe(ACCOUNT, CHANNEL).__aenter__, lambda: channels.feed(ACCOUNT, CHANNEL)):
        with pytest.raises(OSError, match="disk"):
            await begin()
    assert channels.known == 0


async def test_a_thousand_subscribers_of_a_channel_get_what_was_encoded_once(channels: LocalChannels) -> None:
    async with AsyncExitStack() as stack:
        subscriptions = [await stack.enter_async_context(channels.subscribe(ACCOUNT, CHANNEL)) for _ in range(1000)]
        for number in range(20):
            await channels.publish(ACCOUNT, CHANNEL, str(number).encode())
        lines: set[int] = set()
        for subscription in subscriptions:
            told: list[int] = []
            while len(told) < 20:
                batch = await anext(subscription)
                told += data_of(batch)
                lines.add(id(encode_messages(batch, Form.JSONL)))
            assert told == list(range(20))
    assert len(lines) <= 20
    assert channels.known == 0


async def test_ten_thousand_channels_are_listened_to_at_once(channels: LocalChannels) -> None:
    ids = [f"channel-of-16-chars-{number}" for number in range(10_000)]
    async with AsyncExitStack() as stack:
        subscriptions = [await stack.enter_async_context(channels.subscribe(ACCOUNT, name)) for name in ids]
        for number in (0, 5_000, 9_999):
            await channels.publish(ACCOUNT, ids[number], b"%d" % number)
            assert data_of(await read(subscriptions[number], 1)) == [number]
    assert channels.known == 0


async def test_messages_do_not_stay_in_memory() -> None:
    channels = LocalChannels(MemoryStore(), bounds=Bounds(seconds=0.5), interval=0.01)
    await channels.open()
    async with channels.subscribe(ACCOUNT, CHANNEL):
        await channels.publish(ACCOUNT, CHANNEL, b"1")
        (hub,) = channels._hubs.values()
        assert hub.ring.after(0)
        await until(lambda: not hub.ring.after(0))
    await channels.close()


async def test_what_a_turn_said_stays_in_memory_until_it_is_stored() -> None:
    store = MemoryStore()
    channels = LocalChannels(store, bounds=Bounds(messages=3, seconds=0.01), interval=0.01)
    await channels.open()
    feed = await channels.feed(ACCOUNT, CHANNEL)
    for number in range(20):
        feed.say([b"%d" % number])
    await asyncio.sleep(0.05)
    async with channels.subscribe(ACCOUNT, CHANNEL, history=100) as batches:
        assert data_of(await read(batches, 20)) == list(range(20))
    for number in range(20, 24):
        publication = feed.take()
        assert publication is not None
        await store.publish([publication])
        feed.say([b"%d" % number])
    await asyncio.sleep(0.05)
    (hub,) = channels._hubs.values()
    assert data_of(hub.ring.after(0)) == [21, 22, 23]
    async with channels.subscribe(ACCOUNT, CHANNEL, history=100) as batches:
        assert data_of(await rest(batches, least=24)) == list(range(24))
    feed.close()
    await channels.close()


async def test_a_turn_that_used_its_numbers_up_gets_others(
    channels: LocalChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnwise.server.channels.feed.LOW", 2**20 - 10)
    async with channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await channels.feed(ACCOUNT, CHANNEL)
        stored: list[int] = []
        for number in range(40):
            feed.say([b"%d" % number])
            await asyncio.sleep(0.001)
            if number % 5 == 0:
                publication = feed.take()
                assert publication is not None
                assert publication.last_seq is not None
                stored.append(publication.last_seq)
        messages = await read(batches, 40)
        feed.close()
    assert data_of(messages) == list(range(40))
    seqs = [message.seq for message in messages]
    assert seqs == sorted(set(seqs))
    assert stored == seqs[::5]
    assert seqs[-1] > 2**21


async def test_when_the_store_forgets_numbers_subscribers_hear_what_comes(channels: LocalChannels) -> None:
    store = MemoryStore()
    channels = LocalChannels(store, bounds=Bounds(seconds=0.01), interval=0.01)
    await channels.open()
    async with channels.subscribe(ACCOUNT, CHANNEL) as batches:
        for number in range(5):
            await channels.publish(ACCOUNT, CHANNEL, b"%d" % number)
        await read(batches, 5)
        store.rows.clear()
        store.last.clear()
        (hub,) = channels._hubs.values()
        await until(lambda: hub.epoch == 1)
        await channels.publish(ACCOUNT, CHANNEL, b"9")
        (message,) = await read(batches, 1)
        assert (message.seq, message.data) == (1, b"9")
    await channels.close()


async def test_a_store_that_fails_for_a_while_loses_nothing() -> None:
    class Failing(MemoryStore):
        broken = False

        async def channel_rows(
            self, account_id: str, channel_id: str, *, after: int, limit: int, now: int
        ) -> Sequence[ChannelRow]:
            if self.broken:
                raise OSError("the disk is away")
            return await super().channel_rows(account_id, channel_id, after=after, limit=limit, now=now)

    store = Failing()
    here, there = LocalChannels(store, interval=0.01), LocalChannels(store, interval=0.01)
    await here.open()
    async with here.subscribe(ACCOUNT, CHANNEL) as batches:
        store.broken = True
        await there.publish(ACCOUNT, CHANNEL, b"1")
        await asyncio.sleep(0.05)
        store.broken = False
        assert data_of(await read(batches, 1)) == [1]
    await here.close()


async def test_events_are_encoded_for_each_form() -> None:
    store = MemoryStore()
    channels = LocalChannels(store, clock=lambda: 5)
    async with channels.subscribe(ACCOUNT, CHANNEL) as batches:
        await channels.publish(ACCOUNT, CHANNEL, b'{"a":1}')
        batch = await anext(batches)
    assert isinstance(batch, Batch)
    line = b'{"type":"message","data":{"a":1},"seq":1,"createdAt":5}'
    assert encode_messages(batch, Form.JSONL) == line + b"\n"
    assert encode_messages(batch, Form.SSE) == b"event: message\ndata: " + line + b"\n\n"
    assert encode_messages(list(batch), Form.JSONL) == line + b"\n"


@dataclass
class Storm:
    """Publishers, a turn and subscribers, all at once, over a store that takes its time at random."""

    seed: int
    feeds: bool
    published: int = 0
    told: list[list[int]] = field(default_factory=list[list[int]])

    async def run(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - it shuffles what happens
        self.store = MemoryStore(pause=lambda: self.random.choice((0, 0, 0, 0.001, 0.003)))
        bounds = Bounds(messages=self.random.choice((5, 50, 10_000)), seconds=self.random.choice((0.002, 10)))
        self.channels = LocalChannels(self.store, bounds=bounds, interval=0.005)
        await self.channels.open()
        self.over = asyncio.Event()
        readers = [asyncio.create_task(self.read(index)) for index in range(6)]
        writers = [asyncio.create_task(self.publish()) for _ in range(3)]
        writers += [asyncio.create_task(self.turn())] if self.feeds else []
        await asyncio.gather(*writers)
        self.over.set()
        await asyncio.gather(*readers)
        await self.channels.close()

    async def nap(self) -> None:
        await asyncio.sleep(self.random.choice((0, 0, 0.001, 0.002, 0.005)))

    async def publish(self) -> None:
        for _ in range(25):
            await self.nap()
            self.published += 1
            await self.channels.publish(ACCOUNT, CHANNEL, b"0")

    async def turn(self) -> None:
        for _ in range(2):
            feed = await self.channels.feed(ACCOUNT, CHANNEL)
            for _ in range(25):
                await self.nap()
                count = self.random.randrange(1, 4)
                self.published += count
                feed.say([b"1"] * count)
                if self.random.random() < 0.3 and (publication := feed.take()):
                    await self.store.publish([publication])
            if publication := feed.take():
                await self.store.publish([publication])
            feed.close()

    async def read(self, index: int) -> None:
        """Subscribe, read a little, leave, and come back, until everything was told."""
        told: list[int] = []
        while True:
            ended = self.over.is_set()
            async with self.channels.subscribe(ACCOUNT, CHANNEL, after=told[-1] if told else 0) as batches:
                if ended:
                    last = self.store.rows[ACCOUNT, CHANNEL][-1].seq
                    missing = last if last not in told else 0
                    told += [message.seq for message in await rest(batches, 0.1, last=missing)]
                    break
                told += [message.seq for message in await some(batches, self.random.randrange(1, 40))]
            if index % 2:
                await self.nap()
        self.told.append(told)


async def some(batches: Batches, patience: int) -> list[ChannelMessage]:
    """Return up to so many batches; fewer where none comes for a while, or the subscriber lags."""
    messages: list[ChannelMessage] = []
    with contextlib.suppress(TimeoutError, Lagging):
        for _ in range(patience):
            async with asyncio.timeout(0.1):
                messages += await anext(batches)
    return messages


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), feeds=st.booleans())
def test_whatever_happens_at_once_everybody_is_told_everything_once_and_in_order(seed: int, feeds: bool) -> None:
    storm = Storm(seed, feeds)
    asyncio.run(storm.run())
    stored = [seq for row in storm.store.rows[ACCOUNT, CHANNEL] for seq in range(row.seq - row.count + 1, row.seq + 1)]
    assert len(stored) == storm.published
    for told in storm.told:
        assert told == stored
