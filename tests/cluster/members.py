"""Three server processes on one database behind a balancer, and somebody who kills them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.balancer import Balancer
from tests.cluster.cast import MODELS, Cast
from tests.cluster.nginx import nginx_before
from tests.crash.worker import Pace
from tests.deployed import Deployment
from tests.server.postgres import free_ports

__all__ = ["EVERY", "Cluster", "Killer", "Member", "cluster"]

SECRET: Final = "tw-cluster-test-secret-0123456789"
EVERY: Final = 5.0
"""Seconds between two kills."""
DOWN: Final = 0.3
"""Seconds until a killed process is started again."""
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Member:
    """`turnwise serve` on a port of its own, killed and started again."""

    port: int
    environ: Mapping[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        command = (sys.executable, "-m", "turnwise", "serve", "--port", str(self.port))
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, **self.environ}, cwd=ROOT
            )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 60)
        assert line.startswith(b"listening on "), f"{line!r}; see {self.log}: {self.log.read_text()[-2000:]}"

    async def kill(self) -> None:
        """Kill it, as a power cut would."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait until it has ended."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)
            await self.process.wait()


@dataclass
class Killer:
    """Ends one process after another, and starts each again."""

    members: list[Member]
    balancer: Balancer
    signal: signal.Signals
    every: float
    """Seconds from one to the next, at least."""
    count: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """End them in turn until told to stop; then all serve."""
        loop = asyncio.get_running_loop()
        beat = loop.time() + self.every
        while not await self._stopped_before(beat - loop.time()):
            beat += self.every
            member = self.members[self.count % len(self.members)]
            self.balancer.note_kill(member.port)
            await member.end(self.signal)
            self.count += 1
            await asyncio.sleep(DOWN)
            await member.start()

    async def _stopped_before(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)
        return self.stop.is_set()


@dataclass
class Cluster:
    """The processes, the database they share, and the one address that clients know."""

    balancer: Balancer
    members: list[Member]
    upstream: Cast
    database: str
    folder: Path

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.balancer.url, SECRET, self.database)

    @property
    def logged(self) -> str:
        """What the servers found worth a warning."""
        return "".join(member.log.read_text() for member in self.members)

    @contextlib.asynccontextmanager
    async def killing(self, number: signal.Signals = signal.SIGKILL, *, every: float = EVERY) -> AsyncGenerator[Killer]:
        """Send one process a signal every few seconds as long as the block runs; all serve again after it."""
        killer = Killer(self.members, self.balancer, number, every)
        async with asyncio.TaskGroup() as group:
            group.create_task(killer.run())
            try:
                yield killer
            finally:
                killer.stop.set()


@contextlib.asynccontextmanager
async def cluster(
    folder: Path, database: str, settings: Mapping[str, str], *, pace: Pace, nginx: bool = False
) -> AsyncGenerator[Cluster]:
    """Run three processes with further settings on a database, and an nginx before them if so told."""
    async with Cast(pace) as upstream:
        environ = {
            "TURNWISE_DATABASE_URL": database,
            "TURNWISE_SECRET": SECRET,
            "TURNWISE_MODEL": "m",
            "TURNWISE_MODELS": ",".join(MODELS),
            "TURNWISE_LOG_LEVEL": "warning",
            "TURNWISE_PING_INTERVAL": "0.2",
            "TURNWISE_GRACE": "1",
            "OPENAI_BASE_URL": upstream.base_url,
            **settings,
        }
        members = [Member(port, environ, folder / f"server-{port}.log") for port in free_ports(3)]
        async with contextlib.AsyncExitStack() as stack:
            ports = [member.port for member in members]
            if nginx:
                ports = [await stack.enter_async_context(nginx_before(ports, folder))]
            balancer = await stack.enter_async_context(Balancer(ports, folder / "cuts.jsonl"))
            try:
                await asyncio.gather(*(member.start() for member in members))
                yield Cluster(balancer, members, upstream, database, folder)
            finally:
                await asyncio.gather(*(member.kill() for member in members))
