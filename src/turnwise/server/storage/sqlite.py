"""Storage in an SQLite file."""

from __future__ import annotations

from turnwise.server.storage.notices import Notices, Silence
from turnwise.server.storage.sql_storage import SqlStorage
from turnwise.server.storage.sqlite_file import SqliteFile

__all__ = ["SqliteStorage"]


class SqliteStorage(SqliteFile, SqlStorage):
    """The storage port, the journal's with it, over one SQLite file, which several processes may share."""

    @property
    def notices(self) -> Notices:
        """No process tells another one: each looks for itself."""
        return Silence()
