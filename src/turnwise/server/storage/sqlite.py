"""Storage in an SQLite file."""

from __future__ import annotations

from turnwise.server.storage.sql_storage import SqlStorage
from turnwise.server.storage.sqlite_file import SqliteFile

__all__ = ["SqliteStorage"]


class SqliteStorage(SqliteFile, SqlStorage):
    """The storage port, the journal's with it, over one SQLite file, which several processes may share."""
