"""Upgrades of older databases, by Alembic; imported only where there is something to upgrade.

Migrations are numbered and append-only: what was released is never edited. A new one adds its file to `versions/`,
its number to `database.SCHEMA_VERSION`, its tables to `schema.py`, and `python -m turnwise.server.storage.schema`
writes the SQL of fresh databases.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from turnwise.server.storage.database import connect

__all__ = ["upgrade", "upgrade_postgres"]


def upgrade(path: Path, revision: str = "head") -> str | None:
    """Upgrade the database in one transaction; a process that waited for another one's upgrade has nothing to do.

    Returns the revision it had when the transaction began, None before the first.
    """

    def open_file() -> sqlite3.Connection:
        return connect(path)

    engine = create_engine("sqlite://", creator=open_file, poolclass=NullPool)
    event.listen(engine, "begin", _begin_immediate)
    try:
        with engine.begin() as connection:
            return _migrate(connection, revision)
    finally:
        engine.dispose()


async def upgrade_postgres(connect: Callable[[], Awaitable[object]], lock: int, revision: str = "head") -> str | None:
    """The same for PostgreSQL, over one of asyncpg's connections and under an advisory lock."""
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            await connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")
            return await connection.run_sync(_migrate, revision)
    finally:
        await engine.dispose()


def _migrate(connection: Connection, revision: str) -> str | None:
    before = MigrationContext.configure(connection).get_current_revision()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    return before


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
