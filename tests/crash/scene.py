"""Server processes on one database, a model that works, and clients that reach them by way of a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.process import SECRET, SERVE, ServerProcess
from tests.crash.proxy import Proxy
from tests.crash.task import Line, Task, line_of
from tests.crash.worker import Pace, Worker
from tests.stalls import Stalls

from turnwise import AsyncTurnwise
from turnwise.types.message import Message
from turnwise.types.turn import Turn

FULL = bool(os.environ.get("TURNWISE_TEST_FULL"))
"""Whether there is time for everything."""

SHORT_LEASE_MS = 3000
LEASE_MS = 6000 if FULL else SHORT_LEASE_MS
CAREFUL = SERVE if FULL else ("-m", "tests.crash.careless", str(SHORT_LEASE_MS), "none")

SETTLED_WITHIN = 10.0
"""Seconds after which a turn of a process that died has ended or goes on."""

UNFINISHED = {"waiting", "running"}

CALM = ("-m", "tests.crash.careless", "60000", "none")
"""For tests in which no process dies: on a machine that stands still for seconds none loses its lease either."""


def mutant(name: str) -> tuple[str, ...]:
    return ("-m", "tests.crash.careless", str(SHORT_LEASE_MS), name)


@dataclass
class Scene:
    """A model, a database, and servers on it; clients come by way of a proxy."""

    worker: Worker
    database: Path
    proxy: Proxy
    client: AsyncTurnwise
    servers: contextlib.ExitStack
    stalls: Stalls
    """How long the machine stood still: bounds allow for it."""
    url: str | None = None
    """Where the database is; the file unless given."""
    working: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    async def serve(
        self, program: tuple[str, ...] = CAREFUL, *, url: str | None = None, **environ: str
    ) -> ServerProcess:
        """Start a server process, which finds the database at `url` where it is not to find it as others do."""
        environ = {
            "OPENAI_BASE_URL": self.worker.base_url,
            "TURNWISE_MAX_ACCOUNT_DISPATCHES": "1000",
            "TURNWISE_LOG_LEVEL": "warning",
            **environ,
        }
        server = await asyncio.to_thread(
            ServerProcess, self.database, url=url or self.url, program=program, model="m", environ=environ
        )
        return self.servers.enter_context(server)

    def lead_to(self, server: ServerProcess) -> None:
        """Let clients reach this server from now on."""
        self.proxy.ports = [server.port]

    def lead_to_all(self, servers: Sequence[ServerProcess]) -> None:
        """Let clients reach these servers from now on, one after another."""
        self.proxy.ports = [server.port for server in servers]

    def start(self, *work: Coroutine[None, None, None]) -> None:
        """Let clients do this beside the test."""
        self.working += [asyncio.create_task(one) for one in work]

    async def done(self, within: float = 60) -> None:
        """Wait until clients have done what was started."""
        async with self.stalls.within(within):
            await asyncio.gather(*self.working)

    async def tasks(self, count: int, first: int = 0) -> list[Task]:
        """Return tasks, each in a conversation of its own."""
        made = await asyncio.gather(*(self.client.conversation.create() for _ in range(count)))
        return [Task(number, one.id, self.worker.pace) for number, one in enumerate(made, first)]

    async def turns(self, tasks: Sequence[Task]) -> list[Turn]:
        """Return the newest turn of each task's conversation."""
        return list(await asyncio.gather(*(self.client.conversation.turn(task.conversation_id) for task in tasks)))

    async def messages(self, task: Task) -> list[Message]:
        """Return what the task's conversation holds."""
        return [message async for message in self.client.conversation.message.list(task.conversation_id)]

    async def stored(self, tasks: Sequence[Task]) -> list[list[Line]]:
        """Return the same of many, as a test wants to see it."""
        found = await asyncio.gather(*(self.messages(task) for task in tasks))
        return [[line_of(message) for message in messages] for messages in found]

    async def begun(self, tasks: Sequence[Task]) -> None:
        """Wait until every task was taken on."""
        async with self.stalls.within(30):
            while not all(task.acknowledged for task in tasks):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    async def settled(self, tasks: Sequence[Task], *, attempt: int = 2) -> float:
        """Wait until every turn has ended or goes on in this attempt; return how many seconds it took."""
        began, stalled = time.monotonic(), self.stalls.allowance
        while True:
            turns = await self.turns(tasks)
            left = [turn for turn in turns if turn.state in UNFINISHED and (turn.attempt or 0) < attempt]
            took = time.monotonic() - began - (self.stalls.allowance - stalled)
            if not left:
                return took
            assert took < SETTLED_WITHIN, f"{len(left)} turns were not settled after {took:.1f} s: {left[0]}"
            await asyncio.sleep(0.1)

    async def ended(self, tasks: Sequence[Task], within: float) -> None:
        """Wait until every turn has ended."""
        async with self.stalls.within(within):
            while any(turn.state in UNFINISHED for turn in await self.turns(tasks)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def scene(folder: Path, pace: Pace | None = None, *, url: str | None = None) -> AsyncGenerator[Scene]:
    async with Worker(pace or Pace()) as worker, Proxy() as proxy:
        client = AsyncTurnwise(secret=SECRET, base_url=proxy.url)
        with Stalls() as stalls, contextlib.ExitStack() as servers:
            async with client:
                stage = Scene(worker, folder / "turns.db", proxy, client, servers, stalls, url)
                try:
                    yield stage
                finally:
                    for task in stage.working:
                        task.cancel()
                    await asyncio.gather(*stage.working, return_exceptions=True)
