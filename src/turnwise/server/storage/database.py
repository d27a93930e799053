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

__all__ = ["BUSY_SECONDS", "POSTGRES_SCHEMA_FILE", "SCHEMA_FILE", "SCHEMA_VERSION", "connect", "create_file", "prepare"]

SCHEMA_VERSION: Final = "0003"
"""The newest migration's revision; versions compare as numbers."""

SCHEMA_FILE: Final = Path(__file__).parent / "sql" / "sqlite_schema.sql"

POSTGRES_SCHEMA_FILE: Final = SCHEMA_FILE.with_name("postgres_schema.sql")

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


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to `SCHEMA_VERSION`; refuse a database that is newer or not ours with `Unavailable`."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise Unavailable(
            f"This Python comes with SQLite {sqlite3.sqlite_version}, and Turnwise needs {oldest} or later. "
            "Use a newer Python, or one that is linked to a newer SQLite."
        )
    _use_wal(connection)
    if _version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _create_if_fresh(connection, path)
        version = _version(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    if version != SCHEMA_VERSION:
        _upgrade(version, path)


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


def _create_if_fresh(connection: sqlite3.Connection, path: Path) -> None:
    tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "alembic_version" not in tables:
        raise Unavailable(
            f"{path} is an SQLite database that something else made (it has the table {min(tables)!r}). "
            "Turnwise expects a file of its own: name another one."
        )
    if not tables:
        for statement in SCHEMA_FILE.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                connection.execute(statement)


def _version(connection: sqlite3.Connection) -> str | None:
    """Return the version the schema has; None for a fresh database and for one that was never upgraded."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return None if row is None else str(row[0])


def _upgrade(version: str | None, path: Path) -> None:
    if version is not None and not (version.isdecimal() and int(version) < int(SCHEMA_VERSION)):
        raise Unavailable(
            f"{path} has schema version {version}, and this Turnwise knows versions up to {SCHEMA_VERSION}. "
            "Start the newer Turnwise that wrote it, or name another database."
        )
    from turnwise.server.storage.migrations import upgrade

    try:
        upgrade(path)
    except Exception as error:
        raise Unavailable(
            f"{path} has the older schema version {version or 'of before the first'} and cannot be upgraded: {error}. "
            "It was left as it was. Start the Turnwise that wrote it, and report this."
        ) from error
