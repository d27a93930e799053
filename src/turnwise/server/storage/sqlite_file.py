# ruff: noqa: D102 - the port, base.py, says what each method promises
"""An SQLite file that is read and written: one thread that commits in groups, and a few that read beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from turnwise.server.errors import BadRequest, Conflict, Unavailable
from turnwise.server.ids import Clock, NewId
from turnwise.server.ids import new_id as random_id
from turnwise.server.ids import now as wall_clock
from turnwise.server.storage.database import connect, create_file, prepare, without_tables
from turnwise.server.storage.readers import ReaderPool
from turnwise.server.storage.sql_database import SURROGATES, TAKEN, TOO_LARGE, Job, SqlDatabase
from turnwise.server.storage.writer import Connect, GroupWriter

__all__ = ["SqliteFile"]

T = TypeVar("T")

_TAKEN: Final = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


class SqliteFile(SqlDatabase):
    """One SQLite file, which several processes may share."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock = wall_clock,
        new_id: NewId = random_id,
        writer: Callable[[Connect], GroupWriter] = GroupWriter,
        migrate: bool = True,
    ) -> None:
        self._path = path
        self._migrate = migrate
        self._clock = clock
        self._new_id = new_id
        self.writer = writer(self._prepare)
        self._readers = ReaderPool(lambda: connect(path, read_only=True))

    def _prepare(self) -> sqlite3.Connection:
        if not self._migrate and not self._path.exists():
            raise without_tables(str(self._path))
        create_file(self._path)
        connection = connect(self._path)
        try:
            prepare(connection, self._path, migrate=self._migrate)
        except BaseException:
            connection.close()
            raise
        return connection

    async def open(self) -> None:
        try:
            await self.writer.start()
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"The database {self._path} cannot be opened: {error}. Check that it is an SQLite file and that this "
                "user may write to it and its folder."
            ) from error
        self._readers.start()

    async def close(self) -> None:
        await self.writer.close()
        await self._readers.close()

    async def ready(self) -> bool:
        try:
            await self._read(lambda db: db.execute("SELECT 1 FROM alembic_version").fetchone())
        except Unavailable:
            return False
        return True

    async def _write(
        self,
        job: Job[T],
        *,
        to: str = "",  # noqa: ARG002 - one writes at a time
        turns: Sequence[str] = (),  # noqa: ARG002
        channels: Sequence[tuple[str, str]] = (),  # noqa: ARG002
    ) -> T:
        try:
            return await self.writer.run(job)
        except (UnicodeError, OverflowError, sqlite3.Error) as error:
            raise _refusal(error) from error

    async def _read(self, job: Job[T]) -> T:
        try:
            return await self._readers.run(job)
        except (UnicodeError, OverflowError, sqlite3.Error) as error:
            raise _refusal(error) from error


def _refusal(error: Exception) -> Exception:
    """Return what to raise for an error of Python's or SQLite's."""
    match error:
        case UnicodeError():
            return BadRequest(SURROGATES)
        case OverflowError():
            return BadRequest(TOO_LARGE)
        case sqlite3.IntegrityError() if error.sqlite_errorcode in _TAKEN:
            return Conflict(TAKEN)
        case sqlite3.OperationalError():
            return Unavailable(f"The database did not do what was asked: {error}. Try again.", retry_after=1)
        case _:
            return RuntimeError(f"the database refused what it was given: {error}")
