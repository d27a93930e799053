"""Databases of earlier versions, with something in every table, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from tests.server.postgres import blocking, executed

from turnwise.server.storage import migrations
from turnwise.server.storage.postgres_connection import numbered
from turnwise.server.storage.postgres_database import PostgresAddress

__all__ = ["REVISIONS", "Anywhere", "OnPostgres", "OnSqlite", "columns_of", "contents", "fill", "tables_of"]

REVISIONS: Final = sorted(file.stem.split("_")[0] for file in Path(migrations.__file__).parent.glob("versions/0*.py"))

Row = Mapping[str, object]

LATER: Final = 4_000_000_000_000
"""A moment that is yet to come."""

ROWS: Final[Mapping[str, Sequence[Row]]] = {
    "accounts": [{"id": "me", "name": "me", "created_at": 1}, {"id": "du", "name": "dü", "created_at": 2}],
    "secrets": [
        {"id": "s", "account": "me", "digest": b"\0\xff", "hint": "tw_a", "created_at": 1, "revoked_at": None},
        {"id": "t", "account": "me", "digest": b"", "hint": "tw_b", "created_at": 1, "revoked_at": 2},
    ],
    "settings": [{"name": "signing_key", "value": bytes(range(32))}],
    "conversations": [
        {
            "key": 7,
            "id": "c",
            "account": "me",
            "created_at": 1,
            "updated_at": 2,
            "expires_at": None,
            "last_sequence": 2,
            "name": "old",
            "privacy": True,
            "moderation": None,
        },
        {
            "key": 9,
            "id": "d",
            "account": "du",
            "created_at": 3,
            "updated_at": 3,
            "expires_at": LATER,
            "last_sequence": 0,
            "bot_id": "b",
            "privacy": None,
            "moderation": False,
        },
    ],
    "conversation_texts": [{"conversation": 7, "description": None, "meta": '{"plan":"pro"}', "backstory": "be kind"}],
    "conversation_terms": [
        {"account": "me", "name": "meta.plan", "value": "pro", "created_at": 1, "id": "c", "kinds": 1},
        {"account": "du", "name": "botId", "value": "b", "created_at": 3, "id": "d", "kinds": 1},
    ],
    "messages": [
        {
            "conversation": 7,
            "sequence": number,
            "id": f"m{number}",
            "type": type_,
            "created_at": number,
            "updated_at": number,
            "meta": meta,
            "text": text,
        }
        for number, type_, meta, text in (
            (1, "user", None, "hello \N{GRINNING FACE}\n"),
            (2, "bot", '{"interrupted":true}', "he"),
        )
    ],
    "votes": [
        {"conversation": 7, "message": "m2", "at": 3, "value": -1, "reason": "so-so"},
        {"conversation": 7, "message": "", "at": 4, "value": 1, "reason": None},
    ],
    "used_tokens": [{"conversation": 7, "at": 2, "model": "m", "input_tokens": 3, "output_tokens": 4}],
    "idempotency": [
        {"key": 5, "digest": b"d", "body": b"\0{}", "created_at": LATER, "message_id": "m1", "answer": None},
        {"key": 6, "digest": b"e", "body": b"", "created_at": LATER, "message_id": None, "answer": b"{}"},
    ],
    "removed_conversations": [
        {"conversation": 8, "id": "gone", "account": "me", "created_at": 1, "removed_at": LATER, "emptied": True}
    ],
    "removed_messages": [{"conversation": 7, "id": "m0", "sequence": 0, "removed_at": LATER}],
    "processes": [{"id": "dead", "lease_until": 1}],
    "turns": [
        {
            "id": f"turn-{number}",
            "account": "me",
            "conversation": None,
            "channel": f"channel-{number}",
            "kind": "dispatch",
            "state": state,
            "owner": "dead",
            "attempt": number,
            "cancel": number == 3,
            "tokens": number,
            "created_at": number,
            "started_at": None if state == "waiting" else 2,
            "ended_at": LATER if state == "done" else None,
            "steps": b"steps" if state == "running" else None,
            "request": b"" if state == "done" else b"request",
        }
        for number, state in ((1, "waiting"), (2, "running"), (3, "done"))
    ],
    "turn_events": [
        {"turn": "turn-2", "seq": 0, "tokens": 3, "text": ""},
        {"turn": "turn-2", "seq": 1, "tokens": 2, "text": "so far"},
    ],
    "channels": [
        {
            "key": 3,
            "account": "me",
            "channel": "channel-2",
            "given_seq": 9,
            "last_seq": 2,
            "kept": 2,
            "used_at": LATER,
        }
    ],
    "channel_messages": [{"key": 4, "channel": 3, "seq": 2, "count": 2, "at": LATER, "data": b"1\n2\n"}],
    "rates": [{"subject": "me", "period": 1, "process": "dead", "requests": 1, "messages": 2, "tokens": 3, "turns": 4}],
    "waits": [{"turn": "turn-2", "call_id": "call", "attempt": 2, "channel": "result"}],
    "writers": [{"id": "dead", "last_group": 1, "used_at": 1}],
}
"""Rows for each table, in the columns that its first version had."""


_SCHEMA: Final = (
    """
    SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name
    FROM information_schema.columns WHERE table_schema = 'public'
    """,
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """
    SELECT CAST(CAST(conrelid AS regclass) AS text), conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "SELECT sequencename, CAST(data_type AS text), increment_by, start_value, cycle FROM pg_sequences",
)


class Anywhere(Protocol):
    """A database whose statements are written alike."""

    @property
    def url(self) -> str: ...

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, with `?` for its values."""
        ...

    def upgrade(self, revision: str) -> None:
        """Bring it to a version."""
        ...

    def schema(self) -> object:
        """Return its tables, their columns and constraints and indexes, not in the order they were made."""
        ...


@dataclass
class OnSqlite:
    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()  # pyright: ignore[reportArgumentType]

    def upgrade(self, revision: str) -> None:
        migrations.upgrade(self.path, revision)

    def schema(self) -> object:
        with closing(sqlite3.connect(self.path)) as db:
            tables = dict(db.execute("SELECT name, upper(sql) FROM sqlite_master WHERE type = 'table'"))
            indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            return sorted(indexes.fetchall()), {
                name: (
                    "WITHOUT ROWID" in sql,
                    "AUTOINCREMENT" in sql,
                    sorted(
                        db.execute('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (name,))
                    ),
                    sorted(
                        (index, *rest, db.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall())
                        for index, *rest in db.execute(
                            'SELECT name, "unique", origin, partial FROM pragma_index_list(?)', (name,)
                        )
                    ),
                )
                for name, sql in tables.items()
            }


@dataclass
class OnPostgres:
    url: str

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return blocking(lambda: executed(self.url, numbered(statement), *values))

    def upgrade(self, revision: str) -> None:
        address = PostgresAddress.of(self.url)
        asyncio.run(migrations.upgrade_postgres(address.connect, 1, revision))

    def schema(self) -> object:
        return [self.execute(f"{statement} ORDER BY 1, 2, 3") for statement in _SCHEMA]


def tables_of(database: Anywhere) -> set[str]:
    """Return the names of a database's tables, Alembic's left out."""
    if isinstance(database, OnSqlite):
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    else:
        found = database.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
    return {str(name) for (name,) in found} - {"alembic_version", "sqlite_sequence", "copy_progress"}


def fill(database: Anywhere) -> None:
    """Put rows into every table there is."""
    for table in sorted(tables_of(database)):
        for row in ROWS[table]:
            columns = ", ".join(f'"{name}"' for name in row)
            places = ", ".join("?" * len(row))
            database.execute(f'INSERT INTO "{table}" ({columns}) VALUES ({places})', *row.values())  # noqa: S608 - ours
    if isinstance(database, OnPostgres):
        for table in ("conversations", "idempotency", "channels", "channel_messages"):
            if table in tables_of(database):
                highest = max(int(str(row["key"])) for row in ROWS[table])
                database.execute("SELECT setval(pg_get_serial_sequence(?, 'key'), ?)", table, highest)


def contents(database: Anywhere) -> dict[str, list[dict[str, object]]]:
    """Return every row of every table, its columns by name."""
    found: dict[str, list[dict[str, object]]] = {}
    for table in sorted(tables_of(database)):
        columns = sorted(columns_of(database, table))
        listed = ", ".join(f'"{name}"' for name in columns)
        rows = database.execute(f'SELECT {listed} FROM "{table}"')  # noqa: S608 - our own tables
        found[table] = sorted((dict(zip(columns, row, strict=True)) for row in rows), key=repr)
    return found


def columns_of(database: Anywhere, table: str) -> list[str]:
    """Return the names of a table's columns."""
    if isinstance(database, OnSqlite):
        rows = database.execute("SELECT name FROM pragma_table_info(?)", table)
    else:
        rows = database.execute(
            "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ?",
            table,
        )
    return [str(name) for (name,) in rows]
