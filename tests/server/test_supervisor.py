"""The supervisor over workers that are no processes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator
from itertools import count
from typing import cast

import pytest
from tests.server.services.stage import until

from turnwise.server.settings import Settings
from turnwise.server.workers import supervisor
from turnwise.server.workers.control import Start
from turnwise.server.workers.process import WorkerProcess
from turnwise.server.workers.supervisor import Supervisor

numbers = count(1)


class Stub:
    """A worker that ends when it is told to, and not before."""

    started: list[Stub]

    def __init__(self) -> None:
        self.pid = next(numbers)
        self.age = 100.0
        self.missed = 0
        self.retired = False
        self._end = asyncio.Event()

    @classmethod
    async def start(cls, _listening: socket.socket, _start: Start) -> Stub:
        worker = cls()
        cls.started.append(worker)
        return worker

    async def ready(self) -> None:
        """It is."""

    async def ended(self) -> str:
        await self._end.wait()
        return "with status 1"

    @property
    def has_ended(self) -> bool:
        return self._end.is_set()

    def end(self) -> None:
        self._end.set()

    def retire(self) -> None:
        self.retired = True

    def send_signal(self, number: signal.Signals) -> None:
        self.end()


@pytest.fixture
async def supervised(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Supervisor, None]:
    Stub.started = []
    monkeypatch.setattr(supervisor, "WorkerProcess", cast("type[WorkerProcess]", Stub))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        supervised = Supervisor(Settings(), {}, [listening])
        running = asyncio.create_task(supervised.run())
        await until(lambda: Stub.started)
        yield supervised
        supervised._to_stop.set()
        await running


async def test_a_successor_that_dies_while_its_predecessor_still_ends_replies_is_replaced_at_once(
    supervised: Supervisor,
) -> None:
    await until(lambda: supervised._posts[0].worker is not None)
    supervised._to_roll.set()
    await until(lambda: len(Stub.started) == 2 and Stub.started[0].retired)
    Stub.started[1].end()
    await until(lambda: len(Stub.started) == 3)
    assert not Stub.started[0].has_ended
    await until(lambda: cast("Stub", supervised._posts[0].worker) is Stub.started[2])
