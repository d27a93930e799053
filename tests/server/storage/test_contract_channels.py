"""The contract of every adapter: messages of channels, their numbers, and how long they are kept."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.server.storage.scene import DAY, HOUR, START, Scene, once, published
from tests.stalls import Stalls

from turnwise.server.storage.base import AlreadyDone
from turnwise.server.storage.journal import ChannelRow


async def told(scene: Scene, *, after: int = 0, channel: str = "channel", limit: int = 1000) -> list[tuple[int, str]]:
    """Return the kept messages after a number, with their numbers."""
    rows = await scene.storage.channel_rows(scene.me, channel, after=after, limit=limit, now=scene.clock.now)
    messages: list[tuple[int, str]] = []
    for row in rows:
        lines = row.data.decode().split("\n")
        assert len(lines) == row.count
        messages += zip(range(row.seq - row.count + 1, row.seq + 1), lines, strict=True)
    return [message for message in messages if message[0] > after]


async def history(scene: Scene, length: int) -> list[str]:
    start = await scene.storage.channel_history(scene.me, "channel", length=length, now=scene.clock.now)
    return [text for _, text in await told(scene, after=start)]


async def test_messages_are_numbered_upwards_from_one(scene: Scene) -> None:
    assert await scene.storage.publish([published("a")]) == [1]
    assert await scene.storage.publish([published("b", "c"), published("d")]) == [3, 4]
    assert await told(scene) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert await scene.storage.channel_seq(scene.me, "channel") == 4


async def test_channel_of_another_account_is_another_channel(scene: Scene) -> None:
    numbers = await scene.storage.publish([published("mine"), published("theirs", account=scene.other)])
    assert numbers == [1, 1]
    assert await told(scene) == [(1, "mine")]


async def test_row_is_returned_as_it_was_published(scene: Scene) -> None:
    await scene.storage.publish([published("a", "b", at=START - 5)])
    rows = await scene.storage.channel_rows(scene.me, "channel", after=0, limit=1, now=START)
    assert rows == [ChannelRow(seq=2, count=2, at=START - 5, data=b"a\nb")]


async def test_unknown_channel_is_empty(scene: Scene) -> None:
    assert await scene.storage.channel_seq(scene.me, "channel") == 0
    assert await scene.storage.stored_seqs([(scene.me, "channel")]) == [0]
    assert await scene.storage.channel_history(scene.me, "channel", length=5, now=START) == 0
    assert await told(scene) == []
    assert await scene.storage.publish([]) == []
    assert await scene.storage.stored_seqs([]) == []


async def test_reading_after_a_number_begins_with_the_row_that_goes_beyond_it(scene: Scene) -> None:
    for lines in ("abc", "d", "ef"):
        await scene.storage.publish([published(*lines)])
    rows = await scene.storage.channel_rows(scene.me, "channel", after=2, limit=10, now=START)
    assert [row.seq for row in rows] == [3, 4, 6]
    rows = await scene.storage.channel_rows(scene.me, "channel", after=3, limit=1, now=START)
    assert [row.seq for row in rows] == [4]
    assert await scene.storage.channel_rows(scene.me, "channel", after=6, limit=10, now=START) == []


async def test_history_counts_messages_and_not_rows(scene: Scene) -> None:
    for lines in ("abc", "d", "ef"):
        await scene.storage.publish([published(*lines)])
    for length in range(8):
        assert await history(scene, length) == list("abcdef")[6 - length if length < 6 else 0 :]


async def test_history_counts_over_gaps_in_the_numbers(scene: Scene) -> None:
    await scene.storage.publish([published("a", "b")])
    assert await scene.storage.reserve_numbers(scene.me, "channel", 100) == 3
    await scene.storage.publish([published("z")])
    for length in range(5):
        assert await history(scene, length) == ["a", "b", "z"][3 - length if length < 3 else 0 :]


async def test_reserved_numbers_are_given_out_once(scene: Scene) -> None:
    await scene.storage.publish([published("a")])
    assert await scene.storage.reserve_numbers(scene.me, "channel", 10) == 2
    assert await scene.storage.reserve_numbers(scene.me, "channel", 10) == 12
    assert await scene.storage.publish([published("z")]) == [22]
    assert await scene.storage.publish([published("b", "c", last_seq=3)]) == [3]
    assert await told(scene) == [(1, "a"), (2, "b"), (3, "c"), (22, "z")]


async def test_stored_numbers_leave_out_what_is_only_reserved(scene: Scene) -> None:
    await scene.storage.publish([published("a", channel="one")])
    await scene.storage.reserve_numbers(scene.me, "one", 10)
    await scene.storage.reserve_numbers(scene.me, "two", 10)
    await scene.storage.publish([published("x", channel="two", last_seq=4)])
    pairs = [(scene.me, "two"), (scene.me, "none"), (scene.me, "one"), (scene.other, "one")]
    assert await scene.storage.stored_seqs(pairs) == [4, 0, 1, 0]
    assert await scene.storage.channel_seq(scene.me, "one") == 11


async def test_numbers_of_many_channels_are_asked_for_at_once(scene: Scene) -> None:
    names = [f'"{number}" é' for number in range(1000)]
    await scene.storage.publish([published(*"ab", channel=name) for name in names])
    assert await scene.storage.stored_seqs([(scene.me, name) for name in names]) == [2] * 1000


async def test_concurrent_publishers_lose_and_double_nothing(scene: Scene) -> None:
    async def publisher(name: str) -> list[int]:
        numbers: list[int] = []
        for number in range(30):
            numbers += await scene.storage.publish([published(f"{name} {number}")])
        return numbers

    publishers = await asyncio.gather(*(publisher(str(name)) for name in range(10)))
    assert all(numbers == sorted(numbers) for numbers in publishers)
    assert sorted(number for numbers in publishers for number in numbers) == list(range(1, 301))
    messages = await told(scene)
    assert [seq for seq, _ in messages] == list(range(1, 301))
    for name, numbers in enumerate(publishers):
        assert [message for message in messages if message[1].startswith(f"{name} ")] == [
            (seq, f"{name} {number}") for number, seq in enumerate(numbers)
        ]


async def test_publications_of_one_commit_are_stored_together_or_not_at_all(scene: Scene) -> None:
    await scene.storage.publish([published("a", channel="one", last_seq=5)])
    with pytest.raises(Exception, match="id that exists already"):
        await scene.storage.publish([published("b", channel="two"), published("c", channel="one", last_seq=5)])
    assert await scene.storage.stored_seqs([(scene.me, "one"), (scene.me, "two")]) == [5, 0]


async def test_request_that_is_known_publishes_nothing(scene: Scene) -> None:
    assert await scene.storage.publish([published("a")], once=once(answer=b"{}")) == [1]
    with pytest.raises(AlreadyDone) as done:
        await scene.storage.publish([published("a")], once=once(answer=b"{}"))
    assert done.value.answer == b"{}"
    assert await told(scene) == [(1, "a")]


# How long they are kept


async def test_message_is_kept_for_an_hour(scene: Scene) -> None:
    await scene.storage.publish([published("old")])
    await scene.storage.publish([published("new", at=START + 1)])
    scene.clock.now = START + HOUR - 1
    assert await told(scene) == [(1, "old"), (2, "new")]
    scene.clock.now = START + HOUR
    assert await told(scene) == [(2, "new")]
    assert await history(scene, 5) == ["new"]
    assert await scene.storage.purge(now=scene.clock.now) == 1
    assert scene.adapter.rows("channel_messages") == 1
    scene.clock.now = START + HOUR + 1
    assert await scene.storage.channel_history(scene.me, "channel", length=5, now=scene.clock.now) == 2


async def test_numbers_go_on_where_all_messages_are_gone_and_begin_anew_after_a_day(scene: Scene) -> None:
    await scene.storage.publish([published("a", "b")])
    await scene.storage.purge(now=START + DAY - 1)
    assert scene.adapter.rows("channel_messages") == 0
    assert await scene.storage.channel_seq(scene.me, "channel") == 2
    assert await scene.storage.publish([published("c", at=START + DAY - 1)]) == [3]
    await scene.storage.purge(now=START + DAY)
    assert await scene.storage.channel_seq(scene.me, "channel") == 3
    await scene.storage.purge(now=START + 2 * DAY)
    assert scene.adapter.rows("channels") == 0
    assert await scene.storage.channel_seq(scene.me, "channel") == 0


async def test_purge_of_many_messages_takes_small_steps(scene: Scene) -> None:
    await scene.storage.publish([published("x", channel=f"{number}") for number in range(700)])
    await scene.storage.publish([published("x" * 400_000, channel="large") for _ in range(10)])
    later = START + HOUR
    assert await scene.storage.purge(now=later, limit=100) == 100
    assert scene.adapter.rows("channel_messages") == 610
    while await scene.storage.purge(now=later, limit=100):
        pass
    assert scene.adapter.rows("channel_messages") == 0
    assert await scene.storage.stored_seqs([(scene.me, "large")]) == [10]


async def test_channel_keeps_its_last_ten_thousand_messages(scene: Scene) -> None:
    for begin in range(0, 12_000, 500):
        await scene.storage.publish([published(*map(str, range(begin, begin + 500)))])
    messages = await told(scene)
    assert [text for _, text in messages] == list(map(str, range(2_000, 12_000)))
    await scene.storage.publish([published("one more")])
    messages = await told(scene)
    assert 10_000 <= len(messages) < 10_500
    assert messages[-1] == (12_001, "one more")


async def test_full_channel_of_single_messages_does_not_grow(scene: Scene) -> None:
    for _ in range(10):
        await scene.storage.publish([published("x") for _ in range(1_000)])
    for _ in range(3):
        await scene.storage.publish([published("y") for _ in range(50)])
    assert scene.adapter.rows("channel_messages") == 10_000
    messages = await told(scene, limit=20_000)
    assert [seq for seq, _ in messages] == list(range(151, 10_151))
    assert len(await history(scene, 200)) == 200


async def test_channel_that_overflowed_by_much_shrinks_with_each_publication(scene: Scene) -> None:
    await scene.storage.publish([published("x") for _ in range(10_250)])
    kept: list[int] = []
    for _ in range(4):
        kept.append(scene.adapter.rows("channel_messages"))
        await scene.storage.publish([published("y")])
    assert kept == [10_150, 10_051, 10_000, 10_000]


async def test_ten_thousand_messages_are_read_in_one_go(scene: Scene, stalls: Stalls) -> None:
    lines = [f'{{"type":"token","data":{{"token":"{number}"}}}}' for number in range(100)]
    for _ in range(100):
        await scene.storage.publish([published(*lines)])
    began = time.perf_counter()
    start = await scene.storage.channel_history(scene.me, "channel", length=10_000, now=START)
    rows = await scene.storage.channel_rows(scene.me, "channel", after=start, limit=1000, now=START)
    assert time.perf_counter() - began < 0.3 + stalls.allowance
    assert (start, len(rows), sum(row.count for row in rows)) == (0, 100, 10_000)
