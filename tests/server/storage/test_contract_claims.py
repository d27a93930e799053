"""The contract of every adapter: who answers a request of which nothing is stored but the answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.server.storage.scene import START, Scene, once

from turnwise.server.storage.base import AlreadyDone
from turnwise.server.storage.journal import Place

DAY = 24 * 60 * 60 * 1000
ONE = Place(turn_id="t1", process_id="p", attempt=1)
ELSEWHERE = Place(turn_id="t2", process_id="q", attempt=1)
ANSWERED = once(answer=b"answer")


async def known(scene: Scene, place: Place = ELSEWHERE) -> AlreadyDone | None:
    return await scene.storage.claim_once(scene.me, once(), place)


async def test_another_process_learns_who_has_a_request_and_then_its_answer(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    assert await known(scene, ONE) is None
    before = await known(scene)
    assert before is not None
    assert (before.body, before.answer) == (b"body", None)
    await scene.storage.remember(scene.me, ANSWERED)
    for place in (ELSEWHERE, ONE):
        after = await known(scene, place)
        assert after is not None
        assert after.answer == b"answer"
    assert scene.adapter.rows("idempotency") == 1


async def test_of_many_who_claim_a_request_at_once_one_has_it(scene: Scene) -> None:
    places = [Place(turn_id="t", process_id=await scene.process(f"p{number}"), attempt=1) for number in range(8)]
    assert await known(scene, places[0]) is None
    scene.adapter.lapse("p0")
    found = await asyncio.gather(*(known(scene, place) for place in places[1:]))
    assert found.count(None) == 1
    await scene.storage.release_once(scene.me, once(), places[1 + found.index(None)])
    again = await asyncio.gather(*(known(scene, place) for place in places[1:]))
    assert again.count(None) == 1


async def test_what_was_released_is_free_and_what_was_answered_stays(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    await known(scene, ONE)
    await scene.storage.release_once(scene.other, once(), ONE)
    await scene.storage.release_once(scene.me, once(), ELSEWHERE)
    assert await known(scene) is not None
    await scene.storage.release_once(scene.me, once(), ONE)
    assert await known(scene) is None
    await scene.storage.remember(scene.me, ANSWERED)
    await scene.storage.release_once(scene.me, once(), ELSEWHERE)
    assert scene.adapter.rows("idempotency") == 1


async def test_turns_of_one_process_take_a_request_from_each_other(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    later = replace(ONE, turn_id="later")
    assert await known(scene, ONE) is None
    assert await known(scene, later) is None
    await scene.storage.release_once(scene.me, once(), ONE)  # it is the later one's
    assert await known(scene) is not None


async def test_a_request_with_another_body_is_nobodys_to_take(scene: Scene) -> None:
    await scene.process("p")
    assert await known(scene, ONE) is None
    scene.adapter.lapse("p")
    await scene.process("q")
    found = await scene.storage.claim_once(scene.me, once(body=b"other"), ELSEWHERE)
    assert found is not None
    assert (found.body, found.answer) == (b"body", None)


async def test_a_request_is_its_accounts_and_of_one_day(scene: Scene) -> None:
    await scene.process("p")
    await scene.process("q")
    assert await known(scene, ONE) is None
    assert await scene.storage.claim_once(scene.other, once(), ELSEWHERE) is None
    assert await scene.storage.claim_once(scene.me, once(now=START + DAY), ELSEWHERE) is None
    assert scene.adapter.rows("idempotency") == 2
