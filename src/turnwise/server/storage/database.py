"""The database file: connections, and the schema they expect.

A fresh database is made from generated SQL. One of an older version is upgraded by Alembic, which only then is
imported. Both happen inside one immediate transaction, so that processes which start at once wait for each other and
find the work done.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from turnwise.server.errors import Unavailable

__all__ = [
    "BUSY_SECONDS",
    "COPYING",
    "POSTGRES_SCHEMA_FILE",
    "SCHEMA_FILE",
    "SCHEMA_VERSION",
    "check_version",
    "connect",
    "create_file",
    "is_own",
    "of_something_else",
    "prepare",
    "without_tables",
]

SCHEMA_VERSION: Final = "0003"
"""The newest migration's revision; versions compare as numbers."""

COPYING: Final = "copying"
"""Stands for the version as long as a database holds a part of another one, so that no Turnwise serves it."""

SCHEMA_FILE: Final = Path(__file__).parent / "sql" / "sqlite_schema.sql"

POSTGRES_SCHEMA_FILE: Final = SCHEMA_FILE.with_name("postgres_schema.sql")

BASE: Final = "0000"
"""The version of a database that Alembic knows, before its first migration."""

_TABLES: Final = r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
"""All but SQLite's own, which stay when the last table goes."""

OLDEST_SQLITE: Final = (3, 35, 0)
"""The first with RETURNING."""

BUSY_SECONDS: Final = 30.0
"""How long a process waits for others that write to the same file."""

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA cache_size = -8192",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA secure_delete = ON",
)


def create_file(path: Path) -> None:
    """Make the file, and the folders above it, for this user's eyes only; leave alone what exists."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection in autocommit mode; transactions are begun and ended by their statements."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def is_own(version: str) -> bool:
    """Tell whether a version is one that a Turnwise gives, this one or a newer; Alembic serves other programs too."""
    return version == COPYING or (len(version) == len(SCHEMA_VERSION) and version.isdecimal())


def of_something_else(place: str, table: str) -> Unavailable:
    """Return the refusal of a database that has tables which are not ours, such as this one."""
    return Unavailable(
        f"{place} holds tables that something else made (it has the table {table!r}). Turnwise expects a database, or "
        "a schema by `search_path`, or a file, of its own: name another one."
    )


def check_version(version: str, place: str, *, migrate: bool) -> None:
    """Refuse a schema that this Turnwise cannot use, or is not to upgrade, with `Unavailable`."""
    if version == COPYING:
        raise Unavailable(
            f"{place} holds a part of another database: a copy into it was begun and has not ended. Start the same "
            "`turnwise database copy` again, and it goes on where it stopped."
        )
    if not is_own(version):
        raise of_something_else(place, "alembic_version")
    if int(version) > int(SCHEMA_VERSION):
        raise Unavailable(
            f"{place} has schema version {version}, and this Turnwise knows versions up to {SCHEMA_VERSION}. "
            "Start the newer Turnwise that wrote it, or name another database."
        )
    if version != SCHEMA_VERSION and not migrate:
        raise Unavailable(
            f"{place} has the older schema version {version}, this Turnwise works with {SCHEMA_VERSION}, and "
            "TURNWISE_MIGRATE=false keeps it from upgrading. Run `turnwise database migrate` first."
        )


def without_tables(place: str) -> Unavailable:
    """Return the refusal of a database that has no tables yet, where none are to be made."""
    return Unavailable(
        f"{place} has no tables yet, and TURNWISE_MIGRATE=false keeps Turnwise from making them. "
        "Run `turnwise database migrate` first."
    )


def prepare(connection: sqlite3.Connection, path: Path, *, migrate: bool = True) -> str | None:
    """Bring the schema up to `SCHEMA_VERSION`; return the version that it had, None where there were no tables.

    A database that is newer or not ours is refused with `Unavailable`; without `migrate`, one that is older too.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise Unavailable(
            f"This Python comes with SQLite {sqlite3.sqlite_version}, and Turnwise needs {oldest} or later. "
            "Use a newer Python, or one that is linked to a newer SQLite."
        )
    version = _version(connection)
    if version is not None:
        if "conversations" not in (tables := _tables(connection)):
            raise of_something_else(str(path), min(tables))
        check_version(version, str(path), migrate=migrate)
    _use_wal(connection)
    if version == SCHEMA_VERSION:
        return version
    connection.execute("BEGIN IMMEDIATE")
    try:
        fresh = _create_if_fresh(connection, path, migrate=migrate)
        version = _version(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if fresh:
        return None
    return version if version == SCHEMA_VERSION else _upgrade(version or BASE, path, migrate=migrate)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself where another process is doing the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _create_if_fresh(connection: sqlite3.Connection, path: Path, *, migrate: bool) -> bool:
    """Make the tables where there are none; return whether that was so."""
    tables = _tables(connection)
    if tables and "alembic_version" not in tables:
        raise of_something_else(str(path), min(tables))
    if tables:
        return False
    if not migrate:
        raise without_tables(str(path))
    for statement in SCHEMA_FILE.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            connection.execute(statement)
    return True


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute(_TABLES)}


def _version(connection: sqlite3.Connection) -> str | None:
    """Return the version the schema has; None for a fresh database and for one that was never upgraded."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return None if row is None else str(row[0])


def _upgrade(version: str, path: Path, *, migrate: bool) -> str:
    """Return the version the schema had when it was this process's turn to upgrade it."""
    check_version(version, str(path), migrate=migrate)
    from turnwise.server.storage.migrations import upgrade

    try:
        return upgrade(path) or BASE
    except Exception as error:
        raise Unavailable(
            f"{path} has the older schema version {version} and cannot be upgraded: {error}. "
            "It was left as it was. Start the Turnwise that wrote it, and report this."
        ) from error
