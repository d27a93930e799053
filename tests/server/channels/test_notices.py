"""Channels of processes that tell each other: nothing is lost, doubled or late, whatever becomes of the notices."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from tests.server.channels.scene import ACCOUNT, CHANNEL, Batches, data_of, read, rest
from tests.server.pgbouncer import Pooler
from tests.server.postgres import PostgresServer, executed
from tests.stalls import Stalls

from turnwise.server.channels.base import ChannelMessage, Feed
from turnwise.server.channels.local import LocalChannels
from turnwise.server.storage.jobs.notices import tell
from turnwise.server.storage.journal import ChannelRow
from turnwise.server.storage.notices import CHANNEL as TOPIC
from turnwise.server.storage.postgres import PostgresStorage

NEVER = 1000.0


class CountingStorage(PostgresStorage):
    """Counts what is read of channels."""

    reads = 0

    async def channel_rows(
        self, account_id: str, channel_id: str, *, after: int, limit: int, now: int
    ) -> Sequence[ChannelRow]:
        self.reads += 1
        return await super().channel_rows(account_id, channel_id, after=after, limit=limit, now=now)


@dataclass
class Process:
    """A process: its storage and its channels."""

    storage: CountingStorage
    channels: LocalChannels

    async def publish(self, *texts: object, channel: str = CHANNEL) -> None:
        for text in texts:
            await self.channels.publish(ACCOUNT, channel, str(text).encode())

    async def flush(self, *feeds: Feed) -> None:
        """Store what feeds said, as the flusher does."""
        publications = [publication for feed in feeds if (publication := feed.take()) is not None]
        await self.storage.publish(publications)

    async def loses_its_notices(self) -> None:
        """Have the server cut the connection that listens."""
        notices = self.storage._notices
        assert notices is not None
        await executed(self.storage._address.url, "SELECT pg_terminate_backend($1)", notices._pid)


@dataclass
class Deployment:
    """Processes on one database."""

    url: str
    stack: AsyncExitStack
    processes: list[Process] = field(default_factory=list[Process])

    async def process(self, *, look: float = NEVER) -> Process:
        """Return one that looks by itself every so many seconds."""
        storage = CountingStorage(self.url)
        await storage.open()
        self.stack.push_async_callback(storage.close)
        # Where notices are not heard at all, it looks as often as ever.
        interval = min(look, 0.1)
        channels = LocalChannels(storage, notices=storage.notices, interval=interval, rarely=look)
        await channels.open()
        self.stack.push_async_callback(channels.close)
        return Process(storage, channels)


@pytest.fixture
async def deployment(postgres: PostgresServer) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        yield Deployment(postgres.emptied(), stack)


async def test_what_fits_into_a_notice_is_told_without_a_query(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        there.storage.reads = 0
        await here.publish(*range(20))
        messages = await read(batches, 20)
        assert data_of(messages) == list(range(20))
        assert [message.seq for message in messages] == list(range(1, 21))
        assert there.storage.reads == 0


async def test_a_message_is_told_elsewhere_as_it_was_published(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    data = '{"text": "Grüße, \\"so\\" \\u0000 \\n 😀, ] [ \'"}'.encode()
    async with (
        here.channels.subscribe(ACCOUNT, CHANNEL) as at_home,
        there.channels.subscribe(ACCOUNT, CHANNEL) as away,
    ):
        await here.channels.publish(ACCOUNT, CHANNEL, data)
        assert await read(at_home, 1) == await read(away, 1)


@pytest.mark.parametrize("size", [6_900, 6_950, 7_000, 8_000, 20_000, 900_000])
async def test_a_message_too_large_for_a_notice_is_fetched(deployment: Deployment, size: int) -> None:
    here, there = await deployment.process(), await deployment.process()
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        texts = ["1", '"' + "x" * size + '"', "2", '"' + "ü" * size + '"', "3"]
        await here.publish(*texts)
        messages = await read(batches, 5)
    ascii_texts = [text.replace("ü", "\\u00fc").encode() for text in texts]
    assert [message.data for message in messages] == ascii_texts


async def test_a_feed_is_heard_elsewhere_as_it_is_flushed(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        there.storage.reads = 0
        feed = await here.channels.feed(ACCOUNT, CHANNEL)
        for begin in range(0, 90, 3):
            feed.say([b"%d" % number for number in range(begin, begin + 3)])
            await here.flush(feed)
        assert data_of(await read(batches, 90)) == list(range(90))
        assert there.storage.reads == 0
        feed.close()


async def test_a_turn_goes_on_in_another_process_and_its_readers_do_not_notice(deployment: Deployment) -> None:
    first, second, reader = [await deployment.process() for _ in range(3)]
    async with reader.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await first.channels.feed(ACCOUNT, CHANNEL)
        feed.say([b"1", b"2"])
        await first.flush(feed)
        feed.say([b"100"])  # told there alone: the process dies
        adopted = await second.channels.feed(ACCOUNT, CHANNEL)
        adopted.say([b"3"])
        await second.flush(adopted)
        adopted.say([b"4"])
        await second.flush(adopted)
        assert data_of(await read(batches, 4)) == [1, 2, 3, 4]
        adopted.close()


async def test_what_is_published_beside_a_turn_elsewhere_comes_in_one_order_for_all(deployment: Deployment) -> None:
    turn, publisher, third = [await deployment.process() for _ in range(3)]
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(process.channels.subscribe(ACCOUNT, CHANNEL))
            for process in (turn, publisher, third)
        ]
        feed = await turn.channels.feed(ACCOUNT, CHANNEL)
        for number in range(12):
            feed.say([b"%d" % number])
            if number % 4 == 1:
                await publisher.publish(100 + number)
            await asyncio.sleep(0.02)
            await turn.flush(feed)
        told = [[(message.seq, int(message.data)) for message in await read(batches, 15)] for batches in readers]
        assert told[0] == told[1] == told[2]
        assert [data for _, data in told[0] if data < 100] == list(range(12))
        assert [data for _, data in told[0] if data >= 100] == [101, 105, 109]
        feed.close()


async def test_two_processes_that_publish_at_once_are_heard_in_one_order_by_all(deployment: Deployment) -> None:
    one, two, three = [await deployment.process() for _ in range(3)]
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(process.channels.subscribe(ACCOUNT, CHANNEL))
            for process in (one, two, three)
        ]

        async def publish(process: Process, begin: int) -> None:
            for number in range(begin, begin + 100, 5):
                await asyncio.gather(*(process.publish(number + more) for more in range(5)))

        await asyncio.gather(publish(one, 0), publish(two, 1000))
        told = [[(message.seq, int(message.data)) for message in await read(batches, 200)] for batches in readers]
        assert told[0] == told[1] == told[2]
        assert [seq for seq, _ in told[0]] == list(range(1, 201))
        assert {data for _, data in told[0]} == {*range(100), *range(1000, 1100)}


async def test_each_of_many_channels_hears_its_own(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    ids = [f"channel-of-16-chars-{number}" for number in range(600)]
    async with AsyncExitStack() as stack:
        subscriptions = [await stack.enter_async_context(there.channels.subscribe(ACCOUNT, name)) for name in ids]
        there.storage.reads = 0
        feeds = [await here.channels.feed(ACCOUNT, name) for name in ids]
        for step in range(3):
            for number, feed in enumerate(feeds):
                feed.say([b"%d" % (1000 * step + number)])
            await here.flush(*feeds)
        for number, batches in enumerate(subscriptions):
            assert data_of(await read(batches, 3)) == [number, 1000 + number, 2000 + number]
        assert there.storage.reads == 0
        for feed in feeds:
            feed.close()


async def test_accounts_do_not_hear_each_other(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    async with there.channels.subscribe("account-you", CHANNEL) as theirs, there.channels.subscribe(ACCOUNT, CHANNEL):
        await here.publish(1)
        assert await rest(theirs) == []


async def test_a_listener_that_is_cut_off_in_mid_stream_misses_nothing(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:

        async def speak() -> None:
            feed = await here.channels.feed(ACCOUNT, CHANNEL)
            for number in range(150):
                feed.say([b"%d" % number])
                await here.flush(feed)
                await asyncio.sleep(0.002)
            feed.close()

        speaking = asyncio.create_task(speak())
        told: list[int] = []
        for cut in range(1, 6):
            while len(told) < cut * 25:
                told += data_of(await anext(batches))
            await there.loses_its_notices()
        await speaking
        while len(told) < 150:
            told += data_of(await anext(batches))
        assert told == list(range(150))


async def test_what_a_teller_that_was_cut_off_could_not_tell_is_read(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        await here.publish(1)
        await here.loses_its_notices()
        while here.storage.notices.listening:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        await here.publish(2, 3)
        assert data_of(await read(batches, 3)) == [1, 2, 3]


async def test_behind_a_transaction_pooler_all_is_heard_with_a_connection_past_it_and_without(
    deployment: Deployment, pooler: Pooler
) -> None:
    direct, deployment.url = deployment.url, pooler.url(deployment.url)
    deaf = await deployment.process()
    deployment.url += f"&listen={quote(direct, safe='')}"
    here, there = await deployment.process(), await deployment.process()
    assert [process.storage.notices.listening for process in (deaf, here, there)] == [False, True, True]
    async with (
        there.channels.subscribe(ACCOUNT, CHANNEL) as told,
        deaf.channels.subscribe(ACCOUNT, CHANNEL) as looked_for,
    ):
        there.storage.reads = 0
        feed = await here.channels.feed(ACCOUNT, CHANNEL)
        for number in range(20):
            feed.say([b"%d" % number])
            await here.flush(feed)
        feed.close()
        assert data_of(await read(told, 20)) == list(range(20))
        assert there.storage.reads == 0
        assert data_of(await read(looked_for, 20)) == list(range(20))


async def test_what_nobody_told_is_found_by_looking(deployment: Deployment, stalls: Stalls) -> None:
    here, there = await deployment.process(), await deployment.process(look=0.2)
    assert here.storage._notices is not None
    here.storage.writer._tell = None
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        began = time.monotonic()
        await here.publish(1)
        assert data_of(await read(batches, 1)) == [1]
        assert time.monotonic() - began < 5 + stalls.allowance


async def test_a_notice_of_another_version_leads_to_a_look(deployment: Deployment) -> None:
    here, there = await deployment.process(), await deployment.process()
    here.storage.writer._tell, telling = None, here.storage.writer._tell
    async with there.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        await here.publish(1)
        here.storage.writer._tell = telling
        await here.storage._write(lambda db: tell(db, TOPIC, {"what": 1}))
        assert data_of(await read(batches, 1)) == [1]


@dataclass
class Storm:
    """Publishers, turns and readers in three processes, whose notices are cut off at random."""

    deployment: Deployment
    seed: int
    published: int = 0

    async def run(self) -> list[list[int]]:
        self.random = random.Random(self.seed)  # noqa: S311 - it shuffles what happens
        self.processes = [await self.deployment.process(look=0.5) for _ in range(3)]
        self.over = asyncio.Event()
        readers = [asyncio.create_task(self.read(process)) for process in self.processes for _ in range(2)]
        cutting = asyncio.create_task(self.cut())
        await asyncio.gather(self.turns(), *(self.publish(process) for process in self.processes))
        self.over.set()
        told = list(await asyncio.gather(*readers))
        cutting.cancel()
        return told

    async def nap(self) -> None:
        await asyncio.sleep(self.random.choice((0, 0.001, 0.003, 0.01)))

    async def cut(self) -> None:
        while True:
            await asyncio.sleep(0.15)
            await self.random.choice(self.processes).loses_its_notices()

    async def publish(self, process: Process) -> None:
        for _ in range(12):
            await self.nap()
            self.published += 1
            text = "0" if self.random.random() < 0.9 else f'"{"x" * 9000}"'
            await process.publish(text)

    async def turns(self) -> None:
        """Speak in one process after the other."""
        for process in self.processes[:2]:
            feed = await process.channels.feed(ACCOUNT, CHANNEL)
            for _ in range(25):
                await self.nap()
                count = self.random.randrange(1, 4)
                self.published += count
                feed.say([b"1"] * count)
                if self.random.random() < 0.5:
                    await process.flush(feed)
            await process.flush(feed)
            feed.close()

    async def read(self, process: Process) -> list[int]:
        """Listen, leave, and come back, until everything was told."""
        told: list[int] = []
        while len(told) < self.published or not self.over.is_set():
            async with process.channels.subscribe(ACCOUNT, CHANNEL, after=told[-1] if told else 0) as batches:
                told += [message.seq for message in await self.some(batches)]
        return told

    async def some(self, batches: Batches) -> list[ChannelMessage]:
        messages: list[ChannelMessage] = []
        try:
            for _ in range(self.random.randrange(1, 30)):
                async with asyncio.timeout(0.2):
                    messages += await anext(batches)
        except TimeoutError:
            pass
        return messages


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_becomes_of_notices_everybody_is_told_everything_once_and_in_order(
    deployment: Deployment, seed: int
) -> None:
    storm = Storm(deployment, seed)
    async with asyncio.timeout(60):
        told = await storm.run()
    rows = await storm.processes[0].storage.channel_rows(ACCOUNT, CHANNEL, after=0, limit=10_000, now=0)
    stored = [seq for row in rows for seq in range(row.seq - row.count + 1, row.seq + 1)]
    assert len(stored) == storm.published
    for each in told:
        assert each == stored
