"""`turnwise serve --workers N`: several server processes on one port, and the small one that looks after them.

The supervisor binds the sockets and keeps them open, one for each worker. What waits in the queue of a worker that died
is taken by its successor on the same socket, and a worker that is replaced leaves only when its successor is ready. The
supervisor itself serves nothing and imports nothing of the server, so that what it starts after an upgrade is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from turnwise.server.log import configure_logging
from turnwise.server.settings import Settings, SettingsError
from turnwise.server.sockets import bind_many, url_of
from turnwise.server.storage.open import file_of
from turnwise.server.workers.control import BETWEEN_BEATS, Start
from turnwise.server.workers.process import WorkerFailed, WorkerProcess

__all__ = ["supervise"]

SHORT_LIFE: Final = 3.0
"""Seconds; a worker that lived for less is not replaced at once when its predecessor did not live longer either."""

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0

MARGIN: Final = 15.0
"""Seconds beside the grace in which a worker that was told to stop must have ended."""

LAST_MOMENT: Final = 5.0
"""Seconds in which it must have ended when it was told to stop at once."""

MOST_MISSED: Final = 30
"""Beats in a row without which a worker is taken to hang."""

logger = logging.getLogger("turnwise.server")


def supervise(settings: Settings, flags: Mapping[str, object]) -> None:
    """Serve with several processes until SIGTERM or SIGINT; SIGHUP replaces them one after another.

    Prints `listening on URL` on stdout once all of them answer. `flags` are those that `settings` were read with: a
    worker reads its settings itself, so that those of SIGHUP see what the file says then.

    Raises:
        SettingsError: the database, or the system, is not made for several processes.
        ValueError: the database's URL names none, or something else that is set cannot be.
        OSError: the address cannot be listened on.
        WorkerFailed: a worker could not be started, to begin with.
    """
    _check(settings)
    configure_logging(form=settings.log_format, level=settings.log_level, name_process=True)
    sockets = bind_many(settings.host, settings.port, settings.workers)
    try:
        asyncio.run(Supervisor(settings, flags, sockets).run())
    finally:
        for listening in sockets:
            listening.close()


def _check(settings: Settings) -> None:
    if sys.platform == "win32":
        raise SettingsError(f"workers: {settings.workers} processes on one port need Linux or macOS. Set it to 1.")
    if file_of(settings.database) is not None:
        raise SettingsError(
            f"workers: {settings.workers} processes need PostgreSQL. A SQLite file takes one writer at a time, so more "
            "processes would wait for each other and serve no more. Set --database (TURNWISE_DATABASE_URL) to "
            "postgresql://user:password@host/database, or --workers (TURNWISE_WORKERS) to 1."
        )


@dataclass(slots=True, eq=False)
class Post:
    """A worker's place: its socket, and who has it now."""

    number: int
    listening: socket.socket
    worker: WorkerProcess | None = None
    early_ends: int = 0
    """How many workers in a row ended soon after their start."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a successor is started."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when another worker has it."""

    @property
    def pause(self) -> float:
        """Seconds to wait before the next start."""
        return min(FIRST_PAUSE * 2 ** (self.early_ends - 2), LONGEST_PAUSE) if self.early_ends > 1 else 0.0


class Supervisor:
    """Starts workers, starts others in their place, and ends with them."""

    def __init__(self, settings: Settings, flags: Mapping[str, object], sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._flags = {name: value for name, value in flags.items() if value is not None}
        self._posts = [Post(number, listening) for number, listening in enumerate(sockets)]
        self._alive: set[WorkerProcess] = set()
        self._to_stop = asyncio.Event()
        self._to_stop_at_once = asyncio.Event()
        self._to_roll = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal says to stop. Raises `WorkerFailed` where the first workers cannot be started."""
        with self._signals():
            serving = asyncio.create_task(self._serve())
            try:
                await _first_of(serving, self._to_stop.wait())
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
            finally:
                await self._stop()

    async def _serve(self) -> None:
        first, *others = self._posts
        await self._fill(first, first=True)  # which migrates the database and makes the first secret: once
        await asyncio.gather(*(self._fill(post) for post in others))
        print(f"listening on {url_of(self._settings.host, first.listening)}", flush=True)  # noqa: T201
        await asyncio.gather(*(self._keep(post) for post in self._posts), self._watch(), self._roll_when_told())

    # One place

    async def _fill(self, post: Post, *, first: bool = False) -> None:
        """Give a place to a new worker, once that is ready."""
        worker = await WorkerProcess.start(post.listening, Start(self._flags, first=first))
        self._alive.add(worker)
        try:
            await worker.ready()
        except WorkerFailed:
            self._alive.discard(worker)
            raise
        logger.info("a worker is ready", extra={"fields": {"worker": worker.pid}})
        post.worker = worker
        post.changed.set()

    async def _keep(self, post: Post) -> None:
        """See to it that a place is taken."""
        while (worker := post.worker) is not None:
            post.changed.clear()
            await _first_of(worker.ended(), post.changed.wait())
            if post.worker is not worker:  # it was replaced on purpose, and is seen off; its successor may die before
                continue
            how = await worker.ended()
            self._alive.discard(worker)
            async with post.changing:
                if post.worker is worker:
                    logger.warning("a worker ended %s; another takes its place", how, extra=_named(worker))
                    post.early_ends = post.early_ends + 1 if worker.age < SHORT_LIFE else 0
                    await self._refill(post)

    async def _refill(self, post: Post) -> None:
        while True:
            await asyncio.sleep(post.pause)
            try:
                await self._fill(post)
            except WorkerFailed as error:
                post.early_ends += 1
                logger.warning("a worker could not be started, the next try is in %g s: %s", post.pause, error)
            else:
                return

    async def _watch(self) -> None:
        """Kill workers that hang, so that others take their places.

        What counts is how often we looked, not the clock: where the whole machine stands still, they lose nothing.
        """
        while True:
            await asyncio.sleep(BETWEEN_BEATS)
            for worker in filter(None, (post.worker for post in self._posts)):
                worker.missed += 1
                if worker.missed == MOST_MISSED:
                    seconds = MOST_MISSED * BETWEEN_BEATS
                    logger.warning(
                        "a worker gave no sign of life for %g seconds and is killed", seconds, extra=_named(worker)
                    )
                    worker.send_signal(signal.SIGKILL)

    # All places, one after another

    async def _roll_when_told(self) -> None:
        while True:
            await self._to_roll.wait()
            self._to_roll.clear()
            try:
                for post in self._posts:
                    await self._roll(post)
            except WorkerFailed as error:
                logger.warning("the rolling restart ends here, the other workers stay as they are: %s", error)
            else:
                logger.info("all workers were replaced")

    async def _roll(self, post: Post) -> None:
        async with post.changing:
            before = post.worker
            await self._fill(post, first=post.number == 0)
        if before is not None:
            before.retire()
            await self._see_off(before, self._patience)

    @property
    def _patience(self) -> float:
        """How long a worker may take to stop, in seconds."""
        return self._settings.drain_delay + self._settings.grace + MARGIN

    async def _see_off(self, worker: WorkerProcess, seconds: float) -> None:
        """Wait until a worker has ended; see to it after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await worker.ended()
        except TimeoutError:
            logger.warning("a worker did not stop within %g seconds and is killed", seconds, extra=_named(worker))
            worker.send_signal(signal.SIGKILL)
            await worker.ended()
        self._alive.discard(worker)

    # The end

    async def _stop(self) -> None:
        for post in self._posts:
            post.listening.close()  # the workers close theirs: whoever comes then is refused, not kept waiting
        self._tell_all(signal.SIGTERM)
        gone = asyncio.gather(*(self._see_off(worker, self._patience) for worker in self._alive))
        await _first_of(gone, self._to_stop_at_once.wait())
        if not gone.done():
            gone.cancel()
            self._tell_all(signal.SIGINT)
            await asyncio.gather(*(self._see_off(worker, LAST_MOMENT) for worker in list(self._alive)))

    def _tell_all(self, number: signal.Signals) -> None:
        for worker in self._alive:
            worker.send_signal(number)

    # What it is told

    @contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        actions: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self._to_stop.set,
            signal.SIGINT: self._interrupt,
            signal.SIGHUP: self._hang_up,
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        try:
            yield
        finally:
            for number in actions:
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        if self._to_stop.is_set():
            self._to_stop_at_once.set()
        self._to_stop.set()

    def _hang_up(self) -> None:
        """Replace the workers; stop where the signal tells that the terminal was closed."""
        (self._to_stop if _terminal_is_gone() else self._to_roll).set()


def _terminal_is_gone() -> bool:
    """Tell whether stderr is a terminal that was closed."""
    try:
        os.tcgetpgrp(2)
    except OSError as error:
        return error.errno == errno.EIO
    return False


def _named(worker: WorkerProcess) -> dict[str, object]:
    return {"fields": {"worker": worker.pid}}


async def _first_of(*some: Awaitable[object]) -> None:
    """Wait until one has ended, and leave those alone that were tasks before."""
    tasks = [asyncio.ensure_future(one) for one in some]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one, task in zip(some, tasks, strict=True):
            if one is not task:
                task.cancel()
