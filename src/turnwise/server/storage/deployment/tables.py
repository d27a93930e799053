"""The tables that make up a deployment, as the schema describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from sqlalchemy import Boolean, LargeBinary, Table, Text

from turnwise.server.storage.jobs.rows import Row
from turnwise.server.storage.schema import metadata

__all__ = ["StoredTable", "all_tables", "copied_tables"]

OF_PROCESSES: Final = frozenset({"processes", "rates", "writers"})
"""What running processes say of themselves. It means nothing elsewhere: without its process, a turn counts as left
behind by one that died, and is taken up by the next server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTable:
    """A table: its columns in their order, and what has to be known to move its rows."""

    name: str
    columns: tuple[str, ...]
    key: tuple[int, ...]
    """The places of the primary key's columns."""
    booleans: tuple[int, ...]
    """The places of columns that are true or false."""
    texts: tuple[int, ...]
    """The places of texts."""
    wide: tuple[int, ...]
    """The places of columns whose values may be long: texts and bytes."""
    numbered: bool
    """The database gives each row a number, in the column `key`."""
    once: bool
    """Such a number is never given out again, also after its row is gone."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The primary key's columns."""
        return tuple(self.columns[place] for place in self.key)

    def key_of(self, row: Row) -> Row:
        """Return a row's key."""
        return tuple(row[place] for place in self.key)


@cache
def all_tables() -> Sequence[StoredTable]:
    """Return every table of the newest schema but Alembic's."""
    return tuple(_described(table) for table in metadata.sorted_tables)


@cache
def copied_tables() -> Sequence[StoredTable]:
    """Return the tables that go along when a deployment moves."""
    return tuple(table for table in all_tables() if table.name not in OF_PROCESSES)


def _described(table: Table) -> StoredTable:
    columns = list(table.columns)
    return StoredTable(
        name=str(table.name),
        columns=tuple(str(column.name) for column in columns),
        key=tuple(place for place, column in enumerate(columns) if column.primary_key),
        booleans=tuple(place for place, column in enumerate(columns) if isinstance(column.type, Boolean)),
        texts=tuple(place for place, column in enumerate(columns) if isinstance(column.type, Text)),
        wide=tuple(place for place, column in enumerate(columns) if isinstance(column.type, Text | LargeBinary)),
        numbered=table.autoincrement_column is not None,
        once=bool(table.dialect_options["sqlite"]["autoincrement"]),
    )
