# ruff: noqa: D102 - the port, base.py, says what each method promises
"""Storage in a PostgreSQL database: one connection that commits in groups, and a pool that reads beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import asyncpg

from turnwise.server.errors import BadRequest, Conflict, Unavailable
from turnwise.server.ids import Clock, NewId
from turnwise.server.ids import new_id as random_id
from turnwise.server.ids import now as wall_clock
from turnwise.server.storage.base import Once, UsedTokens
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.notices import Notices, Silence
from turnwise.server.storage.postgres_database import PostgresAddress, prepare, reach, refusals
from turnwise.server.storage.postgres_notices import PostgresNotices
from turnwise.server.storage.postgres_pool import ConnectionPool
from turnwise.server.storage.postgres_writer import Append, PostgresWriter
from turnwise.server.storage.sql_database import SURROGATES, TAKEN, TOO_LARGE, Job, Written
from turnwise.server.storage.sql_storage import SqlStorage
from turnwise.types.message import Message

__all__ = ["PostgresStorage"]

T = TypeVar("T")

REFUSED: Final = (UnicodeError, OverflowError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What asyncpg and PostgreSQL refuse something with."""


class PostgresStorage(SqlStorage):
    """The storage port, the journal's with it, over a PostgreSQL database, which several processes may share."""

    def __init__(self, url: str, *, clock: Clock = wall_clock, new_id: NewId = random_id, migrate: bool = True) -> None:
        self._address = PostgresAddress.of(url)
        self._migrate = migrate
        self._clock = clock
        self._new_id = new_id
        listener = self._address.listener
        self._notices = None if listener is None else PostgresNotices(listener, database=self._address)
        self.writer = PostgresWriter(
            self._address.connect,
            begin=self._address.begin,
            pooled=self._address.pooled,
            patience=self._address.statement_timeout,
            tell=None if self._notices is None else self._notices.tell,
        )
        self._readers = ConnectionPool(self._address)

    def __repr__(self) -> str:
        return f"PostgresStorage({self._address.label!r})"

    @property
    def notices(self) -> Notices:
        return Silence() if self._notices is None else self._notices

    async def open(self) -> None:
        connection = await reach(self._address)
        try:
            await prepare(connection, self._address, migrate=self._migrate)
            with refusals(self._address):
                await self.writer.start(connection)
        except BaseException:
            await connection.close()
            raise
        self._readers.start()
        if self._notices is not None:
            try:
                await self._notices.open()
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        await self.writer.close()
        if self._notices is not None:
            await self._notices.close()
        await self._readers.close()

    async def ready(self) -> bool:
        try:
            await self._read(_check_writable)
        except Unavailable:
            return False
        return True

    async def add_messages(
        self,
        account_id: str,
        conversation_id: str,
        messages: Sequence[Message],
        *,
        used: Sequence[UsedTokens] = (),
        once: Once | None = None,
    ) -> None:
        if used or not messages:
            await super().add_messages(account_id, conversation_id, messages, used=used, once=once)
        else:
            append = Append(account_id, conversation_id, messages, self._clock(), once)
            try:  # the most frequent write of all: what `_write` would cost on the way is a fiftieth of a request
                await self.writer.run(append)
            except REFUSED as error:
                raise _refusal(error) from error

    async def _write(
        self, job: Job[T], *, to: str = "", turns: Sequence[str] = (), channels: Sequence[tuple[str, str]] = ()
    ) -> T:
        try:
            return await self.writer.run(job, to=Written(to, turns, channels))
        except REFUSED as error:
            raise _refusal(error) from error

    async def _read(self, job: Job[T]) -> T:
        try:
            return await self._readers.run(job)
        except REFUSED as error:
            raise _refusal(error) from error


def _check_writable(db: Database) -> None:
    """Raise what a write would; the connection is then given up, so that the next look asks a new one."""
    row = db.execute("SELECT current_setting('transaction_read_only') FROM alembic_version").fetchone()
    if row is not None and row[0] != "off":
        raise asyncpg.ReadOnlySQLTransactionError("the server takes no writes")


def _refusal(error: Exception) -> Exception:
    """Return what to raise for an error of asyncpg's or PostgreSQL's."""
    match error.__cause__ if isinstance(error, asyncpg.DataError) else error:
        case UnicodeError():
            return BadRequest(SURROGATES)
        case OverflowError():
            return BadRequest(TOO_LARGE)
        case _:
            pass
    match error:
        case asyncpg.DataError():
            return BadRequest(f"The database cannot hold what is to be stored: {error}.")
        case asyncpg.UniqueViolationError():
            return Conflict(TAKEN)
        case asyncpg.QueryCanceledError():
            return Unavailable("The database took too long. Try again, or ask for less.", retry_after=1)
        case asyncpg.LockNotAvailableError():
            return Unavailable("Something else holds a lock on what this needs. Try again.", retry_after=1)
        case asyncpg.InsufficientResourcesError() | asyncpg.TransactionRollbackError():
            return Unavailable(f"The database did not do what was asked: {error}. Try again.", retry_after=1)
        case _:
            return RuntimeError(f"the database refused what it was given: {error}")
