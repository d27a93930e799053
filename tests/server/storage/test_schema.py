from __future__ import annotations

from turnwise.server.storage import database, schema


def test_sql_of_fresh_databases_is_what_the_metadata_says() -> None:
    written = database.SCHEMA_FILE.read_text(encoding="utf-8")
    assert written == schema.sqlite_schema(), "run: python -m turnwise.server.storage.schema"


def test_sql_of_empty_postgresql_databases_is_what_the_metadata_says() -> None:
    written = database.POSTGRES_SCHEMA_FILE.read_text(encoding="utf-8")
    assert written == schema.postgres_schema(), "run: python -m turnwise.server.storage.schema"
