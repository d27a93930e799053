"""What an operator's work asks of a database, whichever it is. Opening it changes nothing, whatever its version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from turnwise.server.storage.database import BASE, is_own
from turnwise.server.storage.deployment.tables import StoredTable
from turnwise.server.storage.jobs.rows import Database, Row
from turnwise.server.storage.jobs.statements import load

__all__ = ["SQL", "Chunk", "Deployment", "Tables", "TablesJob", "any_row", "has_tables", "next_rows", "version_of"]

T = TypeVar("T")

SQL: Final = load("deployment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """How much is in memory at once: `rows`, or about as many as reach `size`, which the last few may exceed."""

    rows: int = 5_000
    size: int = 4_000_000
    """Characters and bytes."""


class Tables(Database, Protocol):
    """A database inside a transaction, table by table. Texts and booleans are the same on every database."""

    def rows_after(self, table: StoredTable, after: Row | None, chunk: Chunk) -> list[Row]:
        """Return the next rows in the order of the table's key; `after` is the key of the last one that was seen."""
        ...

    def insert(self, table: StoredTable, rows: Sequence[Row]) -> None:
        """Add rows."""
        ...

    def last_number(self, table: StoredTable) -> int:
        """Return the highest number that a numbered table ever gave out, as far as the database knows; 0 for none."""
        ...

    def go_on_after(self, table: StoredTable, number: int) -> None:
        """Let a numbered table give out numbers above `number`, and above those of its rows."""
        ...

    def estimate(self, table: str) -> tuple[int, bool]:
        """Return how many rows a table has, and whether that is exact: it is not where counting would take long."""
        ...


TablesJob = Callable[[Tables], T]


class Deployment(Protocol):
    """An open database."""

    label: str
    """Its URL, without password and parameters."""

    async def read(self, job: TablesJob[T]) -> T:
        """Return what the job found, in a transaction of its own unless inside a `snapshot`."""
        ...

    async def write(self, job: TablesJob[T]) -> T:
        """Run a job and commit what it wrote."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """Let everything that is read inside show the same moment."""
        ...

    async def prepare(self) -> str | None:
        """Make or upgrade its tables; return the version it had, None where there were no tables.

        Raises `Unavailable` for a newer one, and one of something else.
        """
        ...

    async def settle(self) -> None:
        """Let the database take stock after much was written, as it would do by itself sooner or later."""
        ...

    async def size(self) -> int:
        """Return the bytes it takes on disk."""
        ...

    async def same_as(self, other: Deployment) -> bool:
        """Tell whether both are one database, by whatever names they are called."""
        ...

    async def close(self) -> None:
        """Close its connection."""
        ...


def version_of(db: Tables) -> str | None:
    """Return the version of the tables; None where there are none, or none of ours."""
    if not has_tables(db) >= {"alembic_version", "conversations"}:
        return None
    row = db.execute(SQL["version"]).fetchone()
    if row is None:
        return BASE
    return str(row[0]) if is_own(str(row[0])) else None


def has_tables(db: Tables) -> set[str]:
    """Return the names of all tables."""
    return {str(name) for (name,) in db.execute(SQL["tables"])}


def next_rows(table: StoredTable, after: Row | None, chunk: Chunk) -> TablesJob[list[Row]]:
    """Return the job that reads the rows after a key."""
    return lambda db: db.rows_after(table, after, chunk)


def any_row(db: Tables, table: str) -> bool:
    """Tell whether a table holds something."""
    return db.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None  # noqa: S608 - our own table
