"""The contract of every adapter: which channels running turns wait on, as all processes see it."""

from __future__ import annotations

import pytest
from tests.server.storage.scene import START, Scene

from turnwise.server.storage.base import Exchange
from turnwise.server.storage.journal import Place

CHANNEL = "channel-of-16-chars"


async def test_what_a_running_turn_waits_on_is_known_until_the_wait_ends(scene: Scene) -> None:
    await scene.process()
    id_, other = await scene.conversation(), await scene.conversation()
    place = await scene.start(id_)
    await scene.start(other)
    storage = scene.storage
    assert not await storage.waited_on(scene.me, id_, CHANNEL)
    await storage.begin_wait(place, "call-1", CHANNEL)
    await storage.begin_wait(place, "call-2", "another-channel-of-16")
    assert await storage.waited_on(scene.me, id_, CHANNEL)
    assert await storage.waited_on(scene.me, id_, "another-channel-of-16")
    assert not await storage.waited_on(scene.me, id_, "a-third-channel-of-16")
    assert not await storage.waited_on(scene.me, other, CHANNEL)
    assert not await storage.waited_on(scene.other, id_, CHANNEL)
    await storage.end_wait(place, "call-1")
    await storage.end_wait(place, "call-1")
    assert not await storage.waited_on(scene.me, id_, CHANNEL)
    assert await storage.waited_on(scene.me, id_, "another-channel-of-16")


async def test_two_calls_that_share_a_channel_are_two_waits(scene: Scene) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    for call in ("call-1", "call-2"):
        await scene.storage.begin_wait(place, call, CHANNEL)
    await scene.storage.end_wait(place, "call-1")
    assert await scene.storage.waited_on(scene.me, id_, CHANNEL)


@pytest.mark.parametrize("state", ["done", "aborted"])
async def test_nothing_is_waited_for_by_a_turn_that_ended(scene: Scene, state: str) -> None:
    await scene.process()
    id_ = await scene.conversation()
    place = await scene.start(id_)
    await scene.storage.begin_wait(place, "call-1", CHANNEL)
    await scene.storage.settle_turn(place, Exchange(messages=[]), state=state, reason=None, now=START)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert not await scene.storage.waited_on(scene.me, id_, CHANNEL)


async def test_nothing_is_waited_for_by_a_process_that_died_until_another_one_waits_again(scene: Scene) -> None:
    await scene.process()
    await scene.process("q")
    id_ = await scene.conversation()
    place = await scene.queue("dispatch-channel", id_)
    await scene.storage.resume_turn(place, None, recent=1, now=START)
    await scene.storage.begin_wait(place, "call-1", CHANNEL)
    scene.adapter.lapse("p")
    assert not await scene.storage.waited_on(scene.me, id_, CHANNEL)
    (adopted,) = await scene.storage.claim_lapsed("q", limit=1, now=START)
    assert not await scene.storage.waited_on(scene.me, id_, CHANNEL)
    again = Place(turn_id=adopted.id, process_id="q", attempt=adopted.attempt)
    await scene.storage.begin_wait(again, "call-1", CHANNEL)
    await scene.storage.end_wait(place, "call-1")
    assert await scene.storage.waited_on(scene.me, id_, CHANNEL)
    await scene.storage.begin_wait(place, "call-1", "the-zombies-own-channel")
    assert await scene.storage.waited_on(scene.me, id_, CHANNEL)


async def test_what_a_turn_left_behind_is_purged_and_what_is_waited_for_is_not(scene: Scene) -> None:
    await scene.process()
    ids = [await scene.conversation() for _ in range(3)]
    for number, id_ in enumerate(ids):
        place = await scene.start(id_)
        await scene.storage.begin_wait(place, f"{number}.1", CHANNEL)
        await scene.storage.begin_wait(place, f"{number}.2", CHANNEL)
        if number < 2:
            await scene.storage.settle_turn(place, Exchange(messages=[]), state="done", reason=None, now=START)
    assert scene.adapter.rows("waits") == 6
    while await scene.storage.purge(now=START):
        pass
    assert scene.adapter.rows("waits") == 2
    assert await scene.storage.waited_on(scene.me, ids[-1], CHANNEL)
