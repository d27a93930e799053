"""What every adapter of channels does: publish, subscribe, come back."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.server.channels.scene import ACCOUNT, CHANNEL, ChannelScene, data_of, read, rest

from turnwise.server.channels.base import Lagging
from turnwise.server.channels.ring import Bounds
from turnwise.server.errors import Unavailable
from turnwise.server.ids import now
from turnwise.server.storage.base import AlreadyDone, Once


async def test_a_message_reaches_everybody_who_listens_with_its_number_and_moment(scene: ChannelScene) -> None:
    subscribe = scene.channels.subscribe
    async with subscribe(ACCOUNT, CHANNEL) as one, subscribe(ACCOUNT, CHANNEL) as two:
        before = now()
        seq = await scene.publish(1)
        (message,) = await read(one, 1)
        assert await read(two, 1) == [message]
    assert (message.seq, message.data) == (seq, b"1")
    assert before <= message.at <= now()


async def test_what_is_told_again_is_the_same(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        await scene.publish(1, 2)
        live = await read(batches, 2)
    async with scene.channels.subscribe(ACCOUNT, CHANNEL, history=5) as batches:
        assert await read(batches, 2) == live


async def test_a_message_is_ascii_on_one_line(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        await scene.channels.publish(ACCOUNT, CHANNEL, '{\n"text": "😀\u2028"\n}'.encode())
        (message,) = await read(batches, 1)
    assert message.data == b'{"text":"\\ud83d\\ude00\\u2028"}'


async def test_two_accounts_never_meet(scene: ChannelScene) -> None:
    await scene.publish(1, account="account-other")
    async with scene.channels.subscribe(ACCOUNT, CHANNEL, history=10) as batches:
        await scene.publish(2, account="account-other")
        await scene.publish(3)
        assert data_of(await read(batches, 1)) == [3]


async def test_two_channels_never_meet(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL, history=10) as batches:
        await scene.publish(1, channel="another-channel-of-mine")
        await scene.publish(2)
        assert data_of(await read(batches, 1)) == [2]


@pytest.mark.parametrize(
    "length, told", [(0, []), (1, [5]), (3, [3, 4, 5]), (5, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])]
)
async def test_history_is_the_last_messages_oldest_first(scene: ChannelScene, length: int, told: list[int]) -> None:
    await scene.publish(1, 2, 3, 4, 5)
    assert await scene.kept(len(told), history=length) == told


async def test_after_goes_on_from_a_number(scene: ChannelScene) -> None:
    await scene.publish(1, 2)
    seq = await scene.publish(3)
    await scene.publish(4, 5)
    assert await scene.kept(2, after=seq) == [4, 5]
    assert await scene.kept(2, after=seq, history=5) == [4, 5]
    assert await scene.kept(5, after=0) == [1, 2, 3, 4, 5]
    assert await scene.kept(5, after=-7) == [1, 2, 3, 4, 5]


async def test_a_number_that_was_never_given_out_means_that_numbering_began_anew(scene: ChannelScene) -> None:
    await scene.publish(1, 2)
    assert await scene.kept(2, after=10**30) == [1, 2]


async def test_history_and_live_messages_meet_without_a_seam(scene: ChannelScene) -> None:
    total = 300
    publishing = [asyncio.create_task(scene.publish(*range(first, total, 10))) for first in range(10)]
    told: list[list[int]] = []
    for _ in range(10):
        await asyncio.sleep(0.002)
        async with scene.channels.subscribe(ACCOUNT, CHANNEL, after=0) as batches:
            told.append([message.seq for message in await read(batches, total)])
    await asyncio.gather(*publishing)
    assert told == [list(range(1, total + 1))] * 10


async def test_a_publisher_that_goes_away_leaves_no_gap(scene: ChannelScene) -> None:
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        leaving = [asyncio.create_task(scene.publish(number)) for number in range(10)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        seq = await scene.publish(99)
        messages = await rest(batches, 0.3, last=seq)
    assert messages[-1].seq == seq
    assert [message.seq for message in messages] == list(range(1, seq + 1))


async def test_an_iteration_that_was_cancelled_has_taken_nothing(scene: ChannelScene) -> None:
    await scene.publish(*range(50))
    async with scene.channels.subscribe(ACCOUNT, CHANNEL, after=0) as batches:
        told: list[int] = []
        publishing = asyncio.create_task(scene.publish(*range(50, 100)))
        for patience in itertools.cycle(range(5)):
            step = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(patience / 1000)
            step.cancel()
            await asyncio.wait([step])
            if not step.cancelled():
                told += data_of(step.result())
            if len(told) >= 100:
                break
        await publishing
    assert told == list(range(100))


async def test_a_wait_gets_what_is_published_once_it_listens_and_no_other(scene: ChannelScene) -> None:
    await scene.publish('{"data":1}')
    other = await scene.process()
    await other.publish(ACCOUNT, CHANNEL, b'{"data":2}')
    async with scene.channels.wait_on(ACCOUNT, CHANNEL) as messages:
        await scene.publish('{"data":3}', '{"error":"no"}')
        assert [await anext(messages), await anext(messages)] == [{"data": 3}, {"error": "no"}]


async def test_a_request_is_done_once(scene: ChannelScene) -> None:
    once = Once(path="/p", key="k", body=b"body", now=now(), answer=b"{}")
    async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
        await scene.channels.publish(ACCOUNT, CHANNEL, b"1", once=once)
        with pytest.raises(AlreadyDone) as done:
            await scene.channels.publish(ACCOUNT, CHANNEL, b"1", once=once)
        assert (done.value.body, done.value.answer) == (b"body", b"{}")
        assert data_of(await rest(batches, least=1)) == [1]


class TestProcesses:
    async def test_what_another_process_publishes_is_heard(self, scene: ChannelScene) -> None:
        other = await scene.process()
        async with scene.channels.subscribe(ACCOUNT, CHANNEL) as batches:
            await other.publish(ACCOUNT, CHANNEL, b"1")
            assert data_of(await read(batches, 1)) == [1]

    async def test_processes_that_publish_at_once_are_heard_in_order(self, scene: ChannelScene) -> None:
        other = await scene.process()
        async with scene.channels.subscribe(ACCOUNT, CHANNEL) as here, other.subscribe(ACCOUNT, CHANNEL) as there:
            for number in range(100):
                channels = scene.channels if number % 3 else other
                await channels.publish(ACCOUNT, CHANNEL, str(number).encode())
            assert data_of(await read(here, 100)) == list(range(100))
            assert data_of(await read(there, 100)) == list(range(100))


class TestBounds:
    async def test_a_subscriber_that_falls_too_far_behind_is_told_to_come_back(self, scene: ChannelScene) -> None:
        channels = await scene.process(Bounds(messages=20))
        async with channels.subscribe(ACCOUNT, CHANNEL) as slow, channels.subscribe(ACCOUNT, CHANNEL) as quick:
            for number in range(5):
                await channels.publish(ACCOUNT, CHANNEL, str(number).encode())
            told = await read(slow, 5)
            for number in range(5, 50):
                await channels.publish(ACCOUNT, CHANNEL, str(number).encode())
                await read(quick, 6 if number == 5 else 1)
            with pytest.raises(Lagging):
                await anext(slow)
        async with channels.subscribe(ACCOUNT, CHANNEL, after=told[-1].seq) as again:
            assert data_of(await read(again, 45)) == list(range(5, 50))

    async def test_large_messages_are_bounded_by_their_bytes(self, scene: ChannelScene) -> None:
        channels = await scene.process(Bounds(bytes=10_000))
        async with channels.subscribe(ACCOUNT, CHANNEL) as slow:
            await channels.publish(ACCOUNT, CHANNEL, b"1")
            await read(slow, 1)
            for _ in range(4):
                await channels.publish(ACCOUNT, CHANNEL, b'"%b"' % (b"x" * 4000))
            with pytest.raises(Lagging):
                await anext(slow)

    async def test_who_pauses_goes_on_from_the_store(self, scene: ChannelScene) -> None:
        channels = await scene.process(Bounds(seconds=0.01))
        async with channels.subscribe(ACCOUNT, CHANNEL) as paused:
            for number in range(10):
                await channels.publish(ACCOUNT, CHANNEL, str(number).encode())
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            await channels.publish(ACCOUNT, CHANNEL, b"10")
            assert data_of(await read(paused, 11)) == list(range(11))


class TestClosing:
    async def test_subscriptions_end_when_channels_close_once_they_have_read_everything(
        self, scene: ChannelScene
    ) -> None:
        async with (
            scene.channels.subscribe(ACCOUNT, CHANNEL) as waiting,
            scene.channels.subscribe(ACCOUNT, CHANNEL) as behind,
        ):
            await scene.publish(1, 2)
            await read(waiting, 2)
            stopped = asyncio.create_task(rest(waiting))
            await asyncio.sleep(0.01)
            await scene.channels.close()
            with pytest.raises(StopAsyncIteration):
                await anext(waiting)
            assert data_of([message async for batch in behind for message in batch]) == [1, 2]
            await asyncio.wait([stopped])

    async def test_nobody_subscribes_to_closed_channels(self, scene: ChannelScene) -> None:
        await scene.channels.close()
        with pytest.raises(Unavailable):
            await scene.channels.subscribe(ACCOUNT, CHANNEL).__aenter__()

    async def test_a_message_is_stored_all_the_same(self, scene: ChannelScene) -> None:
        await scene.channels.close()
        await scene.publish(1)
        other = await scene.process()
        async with other.subscribe(ACCOUNT, CHANNEL, history=1) as batches:
            assert data_of(await read(batches, 1)) == [1]
