"""A few threads read, each through a connection of its own, beside the writer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final, TypeVar, cast

from turnwise.server.errors import Unavailable
from turnwise.server.storage.writer import Connect, Job, Outcome, Ticket, deliver

__all__ = ["ReaderPool"]

T = TypeVar("T")

THREADS: Final = 3


class ReaderPool:
    """Runs reading jobs on whichever thread is free."""

    def __init__(self, connect: Connect, *, threads: int = THREADS) -> None:
        self._connect = connect
        self._size = threads
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self._threads: list[tuple[threading.Thread, Future[None]]] = []
        self._closed = True

    def start(self) -> None:
        """Start the threads; they connect when they have something to read."""
        for _ in range(self._size):
            ended: Future[None] = Future()
            thread = threading.Thread(target=self._serve, args=(ended,), name="turnwise-reader", daemon=True)
            thread.start()
            self._threads.append((thread, ended))
        self._closed = False

    async def run(self, job: Job[T]) -> T:
        """Return what the job returned, or raise what it raised."""
        if self._closed:
            raise Unavailable("The database is closed. The server is starting or stopping: try again.", retry_after=1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._queue.put(Ticket(job, loop, future))
        return cast("T", await future)

    async def close(self) -> None:
        """Finish what was accepted, then close the connections."""
        self._closed = True
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        for thread, ended in threads:
            await asyncio.shield(asyncio.wrap_future(ended))
            thread.join()

    def _serve(self, ended: Future[None]) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while ticket := self._queue.get():
                try:
                    connection = connection or self._connect()
                    outcome = Outcome(ticket, ticket.job(connection))
                except BaseException as error:  # noqa: BLE001 - its caller gets it
                    outcome = Outcome(ticket, error=error)
                deliver([outcome])
        finally:
            if connection is not None:
                connection.close()
            ended.set_result(None)
