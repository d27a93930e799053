from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from tests.server.services.stage import until
from tests.server.storage.scene import HOUR, SqliteAdapter, StillClock, new_turn

from turnwise.server.errors import Unavailable
from turnwise.server.services.lease import Lease
from turnwise.server.storage.journal import JournaledStorage, Place, TurnRow


class Scene:
    def __init__(self, storage: JournaledStorage, adapter: SqliteAdapter) -> None:
        self.storage = storage
        self.adapter = adapter
        self.lost = 0
        self.adopted: list[TurnRow] = []
        self.room = 100
        numbers = count(1)
        self.lease = Lease(
            storage,
            new_id=lambda: f"p{next(numbers)}",
            clock=StillClock(),
            lost=self.lose,
            adopt=self.adopt,
            room=lambda: self.room,
        )

    def lose(self) -> None:
        self.lost += 1

    def adopt(self, rows: Sequence[TurnRow]) -> None:
        self.adopted += rows
        self.room -= len(rows)

    async def alive(self, process_id: str) -> bool:
        return await self.storage.renew_process(process_id, lease_ms=1000)

    async def renewed(self, process_id: str, times: int) -> None:
        """Wait until a lease has been made longer so many times."""
        for _ in range(times):
            await until(partial(self._lasts_longer, process_id, than=self.adapter.lease_until(process_id)))

    def _lasts_longer(self, process_id: str, than: int) -> bool:
        return self.adapter.lease_until(process_id) > than

    async def queue(self, process_id: str, channel: str) -> str:
        turn = new_turn(process_id, kind="dispatch", channel_id=channel)
        assert await self.storage.queue_turn(turn) is None
        return turn.id


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Scene, None]:
    monkeypatch.setattr("turnwise.server.services.lease.RENEW_SECONDS", 0.02)
    # It lapses where a test says so, and nowhere else: a machine that stands still keeps no lease of milliseconds.
    monkeypatch.setattr("turnwise.server.services.lease.LEASE_MS", HOUR)
    adapter = SqliteAdapter(tmp_path / "lease.db")
    storage = adapter.storage(StillClock())
    await storage.open()
    scene = Scene(storage, adapter)
    await scene.lease.open()
    yield scene
    await scene.lease.close()
    await storage.close()


async def test_a_lease_is_renewed_for_as_long_as_it_is_held(scene: Scene) -> None:
    await scene.renewed("p1", times=10)
    assert await scene.alive("p1")
    assert (scene.lost, scene.lease.process_id) == (0, "p1")


async def test_whoever_lost_its_lease_is_told_and_goes_on_under_another_name_with_what_it_left(scene: Scene) -> None:
    turn = await scene.queue("p1", "channel")
    scene.adapter.lapse("p1")
    await until(lambda: scene.adopted)
    assert scene.lost == 1
    assert scene.lease.process_id == "p2"
    (row,) = scene.adopted
    assert (row.id, row.process_id, row.attempt) == (turn, "p2", 2)


async def test_turns_of_a_process_that_died_are_adopted_and_those_of_a_living_one_are_not(scene: Scene) -> None:
    for process in ("dead", "alive"):
        await scene.storage.register_process(process, lease_ms=60_000)
    turn = await scene.queue("dead", "channel")
    await scene.queue("alive", "another channel")
    scene.adapter.lapse("dead")
    await until(lambda: scene.adopted)
    await scene.renewed("p1", times=3)
    assert [row.id for row in scene.adopted] == [turn]
    assert scene.lost == 0


async def test_a_process_without_room_leaves_what_waits_to_others_until_it_has_some(scene: Scene) -> None:
    scene.room = 1
    await scene.storage.register_process("dead", lease_ms=60_000)
    waiting = [await scene.queue("dead", f"channel-{number}") for number in range(2)]
    running = await scene.queue("dead", "channel-running")
    await scene.storage.run_stateless(Place(turn_id=running, process_id="dead", attempt=1), now=0)
    await scene.storage.leave_process("dead")
    await until(lambda: len(scene.adopted) == 2)
    await scene.renewed("p1", times=5)
    assert {row.id for row in scene.adopted} == {waiting[0], running}
    scene.room = 1
    scene.lease.look_if_left()
    await until(lambda: len(scene.adopted) == 3)
    assert scene.adopted[-1].id == waiting[1]


async def test_a_process_that_stops_adopts_nothing_more_and_keeps_its_lease(scene: Scene) -> None:
    scene.lease.retire()
    await scene.storage.register_process("dead", lease_ms=60_000)
    await scene.queue("dead", "channel")
    await scene.storage.leave_process("dead")
    await scene.renewed("p1", times=5)
    assert scene.adopted == []
    assert await scene.alive("p1")


async def test_a_renewal_that_fails_is_tried_again_and_loses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renew, failures = scene.storage.renew_process, iter([True] * 2)

    async def fails_twice(process_id: str, *, lease_ms: int) -> bool:
        if next(failures, False):
            raise Unavailable("The disk is full.")
        return await renew(process_id, lease_ms=lease_ms)

    monkeypatch.setattr(scene.storage, "renew_process", fails_twice)
    with caplog.at_level(logging.WARNING, logger="turnwise.server"):
        await scene.renewed("p1", times=5)
    assert await scene.alive("p1")
    assert scene.lost == 0
    told = [record for record in caplog.records if "renewed" in record.message]
    assert [(record.message[-17:], record.exc_info) for record in told] == [("The disk is full.", None)] * 2


async def test_a_lease_that_is_closed_leaves_its_turns_to_others_at_once(scene: Scene) -> None:
    turn = await scene.queue("p1", "channel")
    await scene.lease.close()
    await scene.storage.register_process("another", lease_ms=60_000)
    (row,) = await scene.storage.claim_lapsed("another", limit=10, now=0)
    assert row.id == turn


async def test_a_lease_is_closed_though_the_database_is(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.storage.close()
    with caplog.at_level(logging.WARNING, logger="turnwise.server"):
        await scene.lease.close()
    assert "lapse" in caplog.text
