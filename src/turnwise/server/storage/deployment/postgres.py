# ruff: noqa: D102 - the protocols in database.py say what each method promises
"""A deployment in a PostgreSQL database. Everything runs on one connection, one at a time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeVar, cast

import asyncpg

from turnwise.server.errors import Unavailable
from turnwise.server.storage.deployment.database import SQL, Chunk, Deployment, TablesJob
from turnwise.server.storage.deployment.tables import StoredTable
from turnwise.server.storage.jobs.rows import Database, Row
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_connection import ESCAPE, JobConnection, original, run_job, stored_text, waited
from turnwise.server.storage.postgres_database import PATIENCE, PostgresAddress, prepare, reach

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["PostgresDeployment"]

T = TypeVar("T")

_FEW: Final = 100_000
"""Rows that are counted; of tables that have more, PostgreSQL's own estimate is good enough."""

_OURS: Final = load("deployment", dialect="postgres")


class PostgresTables(JobConnection):
    """The tables of a PostgreSQL database."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, writing=True)

    def rows_after(self, table: StoredTable, after: Row | None, chunk: Chunk) -> list[Row]:
        key = [stored_text(value) if isinstance(value, str) else value for value in after or ()]
        statement = _read_after(table, first=after is None)
        found = waited(self._connection.fetch(statement, *key, chunk.rows, chunk.size))
        rows = [tuple(row) for row in found]
        return [original(row) for row in found] if _any_holds(table, rows, (ESCAPE,)) else rows

    def insert(self, table: StoredTable, rows: Sequence[Row]) -> None:
        if _any_holds(table, rows, ("\0", ESCAPE)):
            rows = [tuple(stored_text(value) if isinstance(value, str) else value for value in row) for row in rows]
        waited(self._connection.copy_records_to_table(table.name, records=rows, columns=table.columns))

    def last_number(self, table: StoredTable) -> int:
        row = self.execute(SQL["last_number"], (table.name,)).fetchone()
        return int(row[0] or 0) if row else 0

    def go_on_after(self, table: StoredTable, number: int) -> None:
        (highest,) = self.execute(f'SELECT coalesce(max("key"), 0) FROM "{table.name}"').fetchone()  # noqa: S608 - ours
        if (last := max(number, highest)) > 0:
            self.execute(_OURS["raise_number"], (table.name, last))

    def estimate(self, table: str) -> tuple[int, bool]:
        row = self.execute(_OURS["estimated"], (table,)).fetchone()
        if row and row[0] > _FEW:
            return int(row[0]), False
        return int(self.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]), True  # noqa: S608 - our own table


class PostgresDeployment:
    """A deployment in one database, or in one schema of it."""

    def __init__(self, address: PostgresAddress, connection: Connection) -> None:
        self.label = address.label
        self._address = address
        self._connection = connection
        self._within = False

    @classmethod
    async def open(cls, url: str) -> PostgresDeployment:
        """Connect; `Unavailable` where that cannot be."""
        address = PostgresAddress.of(url)
        patient = replace(address, statement_timeout=PATIENCE, lock_timeout=PATIENCE)
        try:
            async with asyncio.timeout(address.statement_timeout):
                return cls(patient, await reach(patient))
        except TimeoutError as error:
            raise Unavailable(f"The database {address.label} cannot be reached: it does not answer.") from error

    async def read(self, job: TablesJob[T]) -> T:
        if self._within:
            return await self._run(job)
        return await self._transaction("READ ONLY", job)

    async def write(self, job: TablesJob[T]) -> T:
        return await self._transaction("READ WRITE", job)

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[None]:
        await self._execute(self._address.begin, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._within = True
        try:
            yield
        finally:
            self._within = False
            if not self._connection.is_closed():
                await self._execute("ROLLBACK")

    async def prepare(self) -> str | None:
        return await prepare(self._connection, self._address)

    async def settle(self) -> None:
        # Until it has statistics, the planner guesses; the daemon that makes them may come minutes later.
        await self._execute(self._address.begin, "ANALYZE", "COMMIT")

    async def size(self) -> int:
        return int((await self.read(lambda db: db.execute(_OURS["size"]).fetchone()))[0])

    async def same_as(self, other: Deployment) -> bool:
        """Ask the databases themselves: hosts have many names, and a lock has one holder a database."""
        if not isinstance(other, PostgresDeployment):
            return False
        lock = secrets.randbits(62)
        async with self.snapshot():
            await self.read(lambda db: db.execute(_OURS["hold"], (lock,)).fetchone())
            (free,) = await other.read(lambda db: db.execute(_OURS["try_to_hold"], (lock,)).fetchone())
            mine, theirs = [
                await each.read(lambda db: db.execute(_OURS["schema"]).fetchone()) for each in (self, other)
            ]
        return not free and mine == theirs

    async def close(self) -> None:
        await self._connection.close(timeout=5)

    async def _transaction(self, mode: str, job: TablesJob[T]) -> T:
        await self._execute(self._address.begin, f"SET TRANSACTION {mode}")
        try:
            result = await self._run(job)
        except BaseException:
            if not self._connection.is_closed():
                await self._execute("ROLLBACK")
            raise
        await self._execute("COMMIT")
        return result

    async def _run(self, job: TablesJob[T]) -> T:
        try:
            return await _running(job, PostgresTables(self._connection))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise self._refusal(error) from error

    async def _execute(self, *statements: str) -> None:
        try:
            for statement in statements:
                await self._connection.execute(statement)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> Unavailable:
        return Unavailable(f"The database {self.label} did not do what was asked: {error}.")


def _any_holds(table: StoredTable, rows: Sequence[Row], characters: Sequence[str]) -> bool:
    """Tell whether a text has one of these characters. Hardly any ever does, so all are asked at once."""
    for place in table.texts:
        column = cast("Iterator[str | None]", map(itemgetter(place), rows))
        together = "".join(filter(None, column))
        if any(character in together for character in characters):
            return True
    return False


async def _running(job: TablesJob[T], tables: PostgresTables) -> T:
    def on_tables(_: Database) -> T:
        return job(tables)

    return await run_job(on_tables, tables)


@cache
def _read_after(table: StoredTable, *, first: bool) -> str:
    """Return the query of the next rows: so many, or fewer where their sizes add up to more than a chunk holds."""
    columns, key = _names(table.columns), _names(table.key_names)
    places = ", ".join(f"${number + 1}" for number in range(len(table.key)))
    after, taken = ("", 1) if first else (f"WHERE ({key}) > ({places})", len(table.key) + 1)
    sizes = " + ".join(f'coalesce(octet_length("{table.columns[place]}"), 0)' for place in table.wide) or "0"
    return (
        f"SELECT {columns} FROM (SELECT *, sum(size) OVER (ORDER BY {key} ROWS BETWEEN UNBOUNDED PRECEDING "  # noqa: S608
        f"AND 1 PRECEDING) AS before FROM (SELECT {columns}, {sizes} AS size "
        f'FROM "{table.name}" {after} ORDER BY {key} LIMIT ${taken}) AS next) AS measured '
        f"WHERE coalesce(before, 0) < ${taken + 1} ORDER BY {key}"
    )


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
