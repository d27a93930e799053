"""Upgrades of older databases, by Alembic; imported only where there is something to upgrade.

Migrations are numbered and append-only: what was released is never edited. A new one adds its file to `versions/`,
its number to `database.SCHEMA_VERSION`, its tables to `schema.py`, and `python -m turnwise.server.storage.schema`
writes the SQL of fresh databases.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from turnwise.server.storage.database import connect

__all__ = ["upgrade"]


def upgrade(path: Path, revision: str = "head") -> None:
    """Upgrade the database in one transaction; a process that waited for another one's upgrade has nothing to do."""

    def open_file() -> sqlite3.Connection:
        return connect(path)

    engine = create_engine("sqlite://", creator=open_file, poolclass=NullPool)
    event.listen(engine, "begin", _begin_immediate)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
