"""What a lease hears while it looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import count
from typing import cast

import pytest
from tests.server.services.stage import until
from tests.server.storage.scene import StillClock

from turnwise.server.services import lease
from turnwise.server.services.lease import Lease
from turnwise.server.storage.journal import Journal, TurnRow


class Asked:
    """A journal in which nothing has lapsed; it answers when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[bool] = []
        """Whether those that wait were asked for, each time."""
        self.asked = False
        """Whether an answer is awaited."""
        self.answers = asyncio.Event()
        self.answers.set()

    async def register_process(self, process_id: str, *, lease_ms: int) -> None: ...

    async def leave_process(self, process_id: str) -> None: ...

    async def renew_process(self, process_id: str, *, lease_ms: int) -> bool:
        return True

    async def other_processes(self, process_id: str) -> int:
        return 1

    async def claim_lapsed(self, process_id: str, *, limit: int, now: int, waiting: bool) -> Sequence[TurnRow]:
        self.waiting.append(waiting)
        self.asked = True
        await self.answers.wait()
        self.asked = False
        return []


class Scene:
    def __init__(self) -> None:
        numbers = count(1)
        self.journal = Asked()
        self.room = 1
        self.lease = Lease(
            cast("Journal", self.journal),
            new_id=lambda: f"p{next(numbers)}",
            clock=StillClock(),
            lost=lambda: None,
            adopt=lambda _: None,
            room=lambda: self.room,
        )

    async def looks(self) -> int:
        """Begin a look, and leave it under way."""
        self.journal.answers.clear()
        seen = len(self.journal.waiting)
        self.lease.look()
        await until(lambda: len(self.journal.waiting) > seen)
        return seen + 1

    async def looks_again_with_room(self, seen: int) -> None:
        self.journal.answers.set()
        await until(lambda: len(self.journal.waiting) > seen and self.journal.waiting[-1])


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Scene, None]:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 3600)  # it looks when it is told to, and not by itself
    scene = Scene()
    await scene.lease.open()
    await until(lambda: scene.journal.waiting)
    yield scene
    scene.journal.answers.set()
    await scene.lease.close()


async def test_what_is_left_to_others_during_a_look_is_looked_for_when_there_is_room(scene: Scene) -> None:
    seen = await scene.looks()
    scene.room = 0
    scene.lease.leave_something()
    scene.journal.answers.set()
    while scene.journal.asked:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    scene.room = 1
    scene.lease.look_if_left()
    await scene.looks_again_with_room(seen)


async def test_room_that_comes_during_a_look_without_room_is_looked_with(scene: Scene) -> None:
    scene.room = 0
    seen = await scene.looks()
    assert scene.journal.waiting[-1] is False
    scene.room = 1
    scene.lease.look_if_left()
    await scene.looks_again_with_room(seen)
