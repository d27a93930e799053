"""A storage from a database URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from turnwise.server.storage.journal import JournaledStorage
from turnwise.server.storage.sqlite import SqliteStorage

__all__ = ["file_of", "storage_at"]

_EXPECTED: Final = (
    "Expected sqlite:////absolute/path.db, sqlite:///relative/path.db or postgresql://user:password@host/database."
)

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)


def storage_at(url: str, *, migrate: bool = True) -> JournaledStorage:
    """Return the storage that `url` names, not opened yet; `ValueError` for one that names none.

    `sqlite:////absolute/path.db` and `sqlite:///relative/path.db` are files; `~` stands for the home folder.
    `postgresql://user:password@host:5432/database` is a PostgreSQL database. Beside what libpq knows, its parameters
    are `pool_size` (connections that read, 10), `statement_timeout` (seconds, 10), `pooler=transaction`, and `listen`:
    the URL, percent-encoded, of the same database past that pooler, for what processes tell each other.

    Without `migrate`, opening it refuses a database without tables or with those of an older version.
    """
    path = file_of(url)
    return _postgres(url, migrate=migrate) if path is None else SqliteStorage(path, migrate=migrate)


def file_of(url: str) -> Path | None:
    """Return the SQLite file that a database URL names, None for PostgreSQL; `ValueError` for any other.

    What such a URL holds is not repeated: it may be a password in the wrong place.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"What names the database is not a URL: it has no `://`. {_EXPECTED}")
    if scheme in {"postgresql", "postgres"}:
        return None
    if scheme != "sqlite":
        kind = f"of the kind {scheme}://" if _SCHEME.fullmatch(scheme) else "like that"
        raise ValueError(f"Databases {kind} are not supported. {_EXPECTED}")
    if not rest.startswith("/") or rest.endswith("/"):
        raise ValueError(f"The database URL names no file. {_EXPECTED}")
    if rest == "/:memory:":
        raise ValueError(f"A database in memory alone would be lost. {_EXPECTED}")
    return Path(rest[1:]).expanduser()


def _postgres(url: str, *, migrate: bool) -> JournaledStorage:
    try:
        from turnwise.server.storage.postgres import PostgresStorage
    except ModuleNotFoundError as error:
        if error.name not in {"asyncpg", "greenlet"}:
            raise
        raise ValueError(
            f"PostgreSQL needs the package {error.name}, which comes with `pip install 'turnwise[server]'`."
        ) from error
    return PostgresStorage(url, migrate=migrate)
