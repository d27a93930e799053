# ruff: noqa: D102 - the protocols in database.py say what each method promises
"""A deployment in an SQLite file. Its statements run in threads, one at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar, cast

from turnwise.server.errors import Unavailable
from turnwise.server.storage.database import connect, create_file, prepare
from turnwise.server.storage.deployment.database import SQL, Chunk, Deployment, TablesJob
from turnwise.server.storage.deployment.tables import StoredTable
from turnwise.server.storage.jobs.rows import Result, Row, Value

__all__ = ["SqliteDeployment", "SqliteTables"]

T = TypeVar("T")

_READ_AT_ONCE: Final = 16
"""Rows after which is looked how much they take; few, because each of them may have megabytes."""


class SqliteTables:
    """The tables of an SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> Result:
        return self._connection.execute(statement, values)

    def executemany(self, statement: str, rows: Sequence[Sequence[Value]], /) -> object:
        return self._connection.executemany(statement, rows)

    def rows_after(self, table: StoredTable, after: Row | None, chunk: Chunk) -> list[Row]:
        columns, key = _names(table.columns), _names(table.key_names)
        beyond = "" if after is None else f"WHERE ({key}) > ({', '.join('?' * len(after))})"
        statement = f'SELECT {columns} FROM "{table.name}" {beyond} ORDER BY {key} LIMIT ?'  # noqa: S608 - our tables
        found = self._connection.execute(statement, (*(after or ()), chunk.rows))
        rows: list[Row] = []
        room = chunk.size
        while room > 0 and (few := found.fetchmany(_READ_AT_ONCE)):
            rows += few
            room -= _size(table, few)
        found.close()
        return _with_booleans(table, rows)

    def insert(self, table: StoredTable, rows: Sequence[Row]) -> None:
        places = ", ".join("?" * len(table.columns))
        statement = f'INSERT INTO "{table.name}" ({_names(table.columns)}) VALUES ({places})'  # noqa: S608 - our tables
        self._connection.executemany(statement, rows)

    def last_number(self, table: StoredTable) -> int:
        if not table.once:
            return 0
        row = self._connection.execute(SQL["last_number"], (table.name,)).fetchone()
        return 0 if row is None else int(row[0])

    def go_on_after(self, table: StoredTable, number: int) -> None:
        if not table.once or number == 0:
            return
        values = number, table.name
        if self._connection.execute(SQL["raise_number"], values).rowcount == 0:
            self._connection.execute(SQL["begin_number"], values)

    def estimate(self, table: str) -> tuple[int, bool]:
        # SQLite counts some 20 million rows a second: it looks only at how many there are on each page.
        return int(self._connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]), True  # noqa: S608 - ours


class SqliteDeployment:
    """A deployment in one file."""

    def __init__(self, path: Path, connection: sqlite3.Connection | None) -> None:
        self.path = path
        self.label = f"sqlite:///{path}"
        self._connection = connection
        self._within = False

    @classmethod
    async def open(cls, path: Path, *, absent: bool) -> SqliteDeployment:
        """Open a file; one that is not there is not made before `prepare`, and refused unless `absent` is allowed."""
        return await asyncio.to_thread(cls._opened, path, absent=absent)

    @classmethod
    def _opened(cls, path: Path, *, absent: bool) -> SqliteDeployment:
        path = path.resolve()
        if path.exists():
            try:
                return cls(path, connect(path))
            except sqlite3.Error as error:
                raise Unavailable(
                    f"The database {path} cannot be opened: {error}. Check that it is an SQLite file and that this "
                    "user may write to it and its folder."
                ) from error
        if not absent:
            raise Unavailable(f"There is no database at {path}. Check the URL; a relative path begins where you are.")
        return cls(path, None)

    async def read(self, job: TablesJob[T]) -> T:
        return await self._do(lambda db: job(SqliteTables(db)) if self._within else _within(db, "BEGIN", job))

    async def write(self, job: TablesJob[T]) -> T:
        return await self._do(lambda db: _within(db, "BEGIN IMMEDIATE", job))

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[None]:
        await self._do(lambda db: db.execute("BEGIN"))
        self._within = True
        try:
            yield
        finally:
            self._within = False
            await self._do(lambda db: db.execute("ROLLBACK"))

    async def prepare(self) -> str | None:
        if self._connection is None:
            try:
                create_file(self.path)
            except OSError as error:
                raise Unavailable(
                    f"The database {self.path} cannot be made: {error}. Check that its folder can be made, and that "
                    "this user may write there."
                ) from error
            self._connection = await asyncio.to_thread(connect, self.path)
        return await self._do(lambda db: prepare(db, self.path))

    async def settle(self) -> None:
        await self._do(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())

    async def size(self) -> int:
        beside = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in beside if file.exists())

    async def same_as(self, other: Deployment) -> bool:
        if not isinstance(other, SqliteDeployment) or not (self.path.exists() and other.path.exists()):
            return False
        return self.path.samefile(other.path)

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:  # as if the file were there and empty
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            try:
                return work(connection)
            finally:
                connection.close()
        running = asyncio.get_running_loop().run_in_executor(None, work, connection)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # The thread goes on all the same, and nothing may close the connection under it.
            connection.interrupt()
            await asyncio.wait([running])
            raise
        except sqlite3.Error as error:
            raise Unavailable(f"The database {self.label} did not do what was asked: {error}.") from error


def _within(connection: sqlite3.Connection, begin: str, job: TablesJob[T]) -> T:
    connection.execute(begin)
    try:
        result = job(SqliteTables(connection))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _size(table: StoredTable, rows: Sequence[Row]) -> int:
    """Return about the number of bytes that rows take."""
    columns = (cast("Iterator[str | bytes | None]", map(itemgetter(place), rows)) for place in table.wide)
    return sum(sum(map(len, filter(None, column))) for column in columns)


def _with_booleans(table: StoredTable, rows: list[Row]) -> list[Row]:
    """SQLite keeps 0 and 1."""
    if not table.booleans:
        return rows
    places = frozenset(table.booleans)
    return [
        tuple(bool(value) if place in places and value is not None else value for place, value in enumerate(row))
        for row in rows
    ]


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
