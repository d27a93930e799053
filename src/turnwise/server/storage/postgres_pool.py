"""A few connections read, each for one job at a time; they are opened when they are needed first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from turnwise.server.errors import Unavailable
from turnwise.server.storage.postgres_connection import LOST, PATIENCE, PAUSE, STEADY, JobConnection, away, run_job
from turnwise.server.storage.postgres_database import PostgresAddress
from turnwise.server.storage.sql_database import Job

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["ConnectionPool"]

T = TypeVar("T")

WAIT: Final = 5.0
"""Seconds for which a job waits for a connection."""


class ConnectionPool:
    """Runs reading jobs on whichever connection is free."""

    def __init__(self, address: PostgresAddress, *, wait: float = WAIT) -> None:
        self._address = address
        self._wait = wait
        self._free = asyncio.Semaphore(address.pool_size)
        self._idle: list[Connection] = []
        self._busy = 0
        self._unused = asyncio.Event()
        self._closed = True

    def start(self) -> None:
        """Let jobs in."""
        self._free = asyncio.Semaphore(self._address.pool_size)
        self._closed = False

    async def run(self, job: Job[T]) -> T:
        """Return what the job returned; it is run again where its connection was lost."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                async with self._lent() as connection:
                    return await self._run(connection, job)
            except LOST as error:
                if loop.time() > deadline:
                    raise away(error) from error
                await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        """Wait for the jobs that run, then close the connections."""
        self._closed = True
        while self._busy:
            self._unused.clear()
            await self._unused.wait()
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=5)
            except LOST:
                connection.terminate()

    async def _run(self, connection: Connection, job: Job[T]) -> T:
        database = JobConnection(connection, writing=False)
        if not self._address.pooled:
            return await run_job(job, database)
        await connection.execute(self._address.begin)
        try:
            return await run_job(job, database)
        finally:
            await connection.execute("ROLLBACK")

    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[Connection]:
        """Lend a connection; one that was lost or cut off in a statement does not come back."""
        await self._acquire()
        self._busy += 1
        connection: Connection | None = None
        try:
            connection = self._living() or await self._connected()
            yield connection
        except (*LOST, asyncio.CancelledError) as error:
            if connection is not None:
                connection.terminate()
            if not isinstance(error, asyncio.CancelledError):
                self._drop_idle()
            raise
        finally:
            if connection is not None and not connection.is_closed():
                self._idle.append(connection)
            self._busy -= 1
            self._unused.set()
            self._free.release()

    async def _connected(self) -> Connection:
        connection = await self._address.connect()
        try:
            if not self._address.pooled:
                await connection.execute(STEADY)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _living(self) -> Connection | None:
        """Take an idle connection that is not known to be lost."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _drop_idle(self) -> None:
        """End idle connections: where one was lost, the others are likely to be too."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()

    async def _acquire(self) -> None:
        if self._closed:
            raise Unavailable("The database is closed. The server is starting or stopping: try again.", retry_after=1)
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            raise Unavailable(
                f"All {self._address.pool_size} connections to the database were busy for {self._wait:g} s. Try again; "
                "where it happens often, raise `pool_size` in the database's URL.",
                retry_after=1,
            ) from None
