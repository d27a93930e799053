from __future__ import annotations

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.schema import CreateTable

from turnwise.server.storage import database, schema


def test_sql_of_fresh_databases_is_what_the_metadata_says() -> None:
    written = database.SCHEMA_FILE.read_text(encoding="utf-8")
    assert written == schema.sqlite_schema(), "run: python -m turnwise.server.storage.schema"


def test_schema_can_be_written_for_postgresql() -> None:
    dialect: Dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
    tables = [str(CreateTable(table).compile(dialect=dialect)) for table in schema.metadata.sorted_tables]
    assert any("BIGSERIAL" in table for table in tables)
