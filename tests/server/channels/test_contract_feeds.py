"""What every adapter does for turns: heard at once, stored later, numbered above everything before."""

from __future__ import annotations

import asyncio

import pytest
from tests.server.channels.scene import ACCOUNT, CHANNEL, ChannelScene, data_of, read, rest
from tests.server.services.stage import until

from turnwise.server.channels.local import LocalChannels


async def test_what_a_feed_says_is_heard_before_it_is_stored(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        feed.say([b"1", b"2"])
        first, second = await read(batches, 2)
        assert (first.data, second.data, second.seq) == (b"1", b"2", first.seq + 1)
        assert await scene.store.stored_seqs([(ACCOUNT, CHANNEL)]) == [0]
        publication = feed.take()
        assert publication is not None
        assert (publication.data, publication.count, publication.last_seq) == (b"1\n2", 2, second.seq)
        assert feed.take() is None
        feed.close()


@pytest.mark.parametrize("length", [0, 1, 3, 5, 99])
async def test_history_holds_what_is_not_stored_yet(scene: ChannelScene, length: int) -> None:
    told = [number for number in range(1, 8) if number > 7 - length]
    await scene.publish(1, 2)
    feed = await scene.channels.feed(ACCOUNT, CHANNEL)
    feed.say([b"3", b"4"])
    await scene.flush(feed)
    feed.say([b"5"])
    taken = feed.take()
    feed.say([b"6", b"7"])
    assert await scene.kept(len(told), history=length) == told
    assert taken is not None
    await scene.store.publish([taken])
    assert await scene.kept(len(told), history=length) == told
    await scene.flush(feed)
    feed.close()
    assert await scene.kept(len(told), history=length) == told


async def test_after_holds_what_is_not_stored_yet(scene: ChannelScene) -> None:
    feed = await scene.channels.feed(ACCOUNT, CHANNEL)
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed.say([b"1", b"2", b"3"])
        seqs = [message.seq for message in await read(batches, 3)]
    assert await scene.kept(1, after=seqs[1]) == [3]
    assert await scene.kept(after=seqs[2]) == []
    await scene.flush(feed)
    assert await scene.kept(2, after=seqs[0]) == [2, 3]
    feed.close()


async def test_a_later_feed_is_numbered_above_all_that_was_told_and_the_earlier_one_is_heard_no_more(
    scene: ChannelScene,
) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        lost = await scene.channels.feed(ACCOUNT, CHANNEL)
        lost.say([b"1"])
        (told,) = await read(batches, 1)
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        lost.say([b"2"])
        feed.say([b"3"])
        lost.close()
        feed.say([b"4"])
        third, fourth = await read(batches, 2)
        assert data_of([third, fourth]) == [3, 4]
        assert told.seq < third.seq
        feed.close()


async def test_a_feed_of_another_process_is_heard_when_it_is_stored(scene: ChannelScene) -> None:
    other = await scene.process()
    async with scene.channels.subscribe(ACCOUNT, CHANNEL, history=9) as batches:
        feed = await other.feed(ACCOUNT, CHANNEL)
        for number in range(5):
            feed.say([str(number).encode(), str(number).encode()])
            await scene.flush(feed)
        assert data_of(await read(batches, 10)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        feed.close()


async def test_what_is_published_beside_a_turn_is_told_in_the_order_of_its_number(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        feed.say([b"1"])
        await scene.publish(100)
        assert isinstance(scene.channels, LocalChannels)
        (hub,) = scene.channels._hubs.values()
        await until(lambda: hub._renumbering is not None)  # from here on, what is said next comes after it
        feed.say([b"2"])
        await scene.flush(feed)
        feed.say([b"3"])
        await scene.publish(200)
        await scene.flush(feed)
        feed.close()
        await scene.publish(300)
        messages = await read(batches, 6)
    assert data_of(messages) == [1, 2, 100, 3, 200, 300]
    assert [message.seq for message in messages] == sorted(message.seq for message in messages)
    for index, message in enumerate(messages):
        after = data_of(messages[index + 1 :])
        assert await scene.kept(len(after), after=message.seq) == after


async def test_what_another_process_publishes_beside_a_turn_is_heard_by_both(scene: ChannelScene) -> None:
    other = await scene.process()
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as here, other.subscribe(ACCOUNT, CHANNEL) as there:
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        for number in range(40):
            feed.say([str(number).encode()])
            if number == 10:
                await other.publish(ACCOUNT, CHANNEL, b"100")
            await asyncio.sleep(0.005)
            if number % 5 == 4:
                await scene.flush(feed)
        feed.close()
        told = [await rest(batches, 0.6, least=41) for batches in (here, there)]
    assert told[0] == sorted(told[0], key=lambda message: message.seq)
    assert sorted(data_of(told[0])) == sorted([*range(40), 100])
    assert [message.seq for message in told[1]] == [message.seq for message in told[0]]


async def test_what_is_held_is_heard_when_it_is_released_and_what_another_hold_followed_never(
    scene: ChannelScene,
) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        assert feed.hold([b"1"]) is not None
        stored = feed.hold([b"2"])
        assert stored is not None
        await scene.store.publish([stored])
        feed.release()
        feed.say([b"3"])
        assert data_of(await read(batches, 2)) == [2, 3]
        await scene.flush(feed)
        feed.close()
    assert await scene.kept(2, history=9) == [2, 3]


async def test_what_was_held_and_is_stored_is_told_though_nobody_released_it(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        feed.say([b"1"])
        await scene.flush(feed)
        held = feed.hold([b"2", b"3"])
        assert held is not None
        await scene.store.publish([held])  # and the answer got lost
        feed.close()
        assert data_of(await read(batches, 1)) == [1]
        assert data_of(await read(batches, 2)) == [2, 3]
        await scene.publish(4)
        assert data_of(await read(batches, 1)) == [4]


async def test_what_was_held_and_is_not_stored_is_never_told(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        feed = await scene.channels.feed(ACCOUNT, CHANNEL)
        feed.say([b"1"])
        await scene.flush(feed)
        feed.hold([b"2", b"3"])
        feed.close()
        await scene.publish(4)
        assert data_of(await read(batches, 2)) == [1, 4]
    assert await scene.kept(2, history=9) == [1, 4]
