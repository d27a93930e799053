"""The schema, as SQLAlchemy Core metadata, written for SQLite and PostgreSQL alike.

Nothing imports this module on a normal start: a fresh SQLite database is made from `sql/sqlite_schema.sql`, which
`python -m turnwise.server.storage.schema` writes from here, and Alembic upgrades older ones.

Four ideas carry the cost of the hot paths:

- A conversation has an integer key besides its id, never used twice, and messages are clustered under
  (conversation, sequence): the last page of the longest conversation is as near as that of the shortest.
- What changes with every message (`updated_at`, `last_sequence`) lies in a short row; long texts lie beside it.
- Everything a list filters by is a term, in one inverted index that is clustered in the list's own order.
- What was deleted leaves a row in `removed_*`: what is still to be purged, and where a cursor that names it stood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from turnwise.server.storage.database import SCHEMA_FILE, SCHEMA_VERSION

__all__ = ["metadata", "sqlite_schema"]

metadata: Final = MetaData()

_key: Final = BigInteger().with_variant(Integer, "sqlite")

Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("name", name="accounts_name"),
    sqlite_with_rowid=False,
)

Table(
    "secrets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("hint", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    UniqueConstraint("digest", name="secrets_digest"),
    Index("secrets_account", "account"),
    sqlite_with_rowid=False,
)

Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

conversations: Final = Table(
    "conversations",
    metadata,
    Column("key", _key, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_sequence", BigInteger, nullable=False),
    Column("name", Text),
    Column("bot_id", Text),
    Column("model", Text),
    Column("dataset_id", Text),
    Column("skillset_id", Text),
    Column("privacy", Boolean),
    Column("moderation", Boolean),
    Column("contact_id", Text),
    Column("task_id", Text),
    Column("space_id", Text),
    UniqueConstraint("id", name="conversations_id"),
    sqlite_autoincrement=True,
)
Index("conversations_list", conversations.c.account, conversations.c.created_at, conversations.c.id)
Index(
    "conversations_expiry",
    conversations.c.expires_at,
    sqlite_where=conversations.c.expires_at.is_not(None),
    postgresql_where=conversations.c.expires_at.is_not(None),
)

Table(
    "conversation_texts",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("description", Text),
    Column("meta", Text),
    Column("backstory", Text),
)

Table(
    "conversation_terms",
    metadata,
    Column("account", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("created_at", BigInteger, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("kinds", Integer, nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "messages",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("name", Text),
    Column("description", Text),
    Column("meta", Text),
    Column("text", Text, nullable=False),
    UniqueConstraint("conversation", "id", name="messages_id"),
    sqlite_with_rowid=False,
)

Table(
    "votes",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("message", Text, primary_key=True, comment="empty: the conversation itself"),
    Column("at", BigInteger, primary_key=True),
    Column("value", Integer, nullable=False),
    Column("reason", Text),
    sqlite_with_rowid=False,
)

Table(
    "used_tokens",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Keys grow with time, so that what is 24 hours old is found at the front without an index of its own.
Table(
    "idempotency",
    metadata,
    Column("key", _key, primary_key=True, autoincrement=True),
    Column("digest", LargeBinary, nullable=False, comment="of account, path and the request's key"),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("message_id", Text),
    Column("answer", LargeBinary),
    UniqueConstraint("digest", name="idempotency_digest"),
)

removed_conversations: Final = Table(
    "removed_conversations",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger, nullable=False),
    Column("emptied", Boolean, nullable=False),
    UniqueConstraint("id", name="removed_conversations_id"),
)
Index("removed_conversations_purge", removed_conversations.c.emptied, removed_conversations.c.removed_at)

Table(
    "removed_messages",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("removed_at", BigInteger, nullable=False),
    Index("removed_messages_purge", "removed_at"),
    sqlite_with_rowid=False,
)


def sqlite_schema() -> str:
    """Return the statements that make a fresh SQLite database, the version Alembic reads included."""
    dialect = sqlite.dialect()
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    statements.append(
        "CREATE TABLE alembic_version (\n"
        "\tversion_num VARCHAR(32) NOT NULL, \n"
        "\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n)"
    )
    statements.append(f"INSERT INTO alembic_version (version_num) VALUES ('{SCHEMA_VERSION}')")  # noqa: S608 - our own constant
    lines = (line.rstrip() for statement in statements for line in f"{statement.strip()};\n".splitlines())
    return (
        "-- Written by `python -m turnwise.server.storage.schema`; change schema.py instead.\n\n"
        + "\n".join(line for line in lines if line)
        + "\n"
    )


if __name__ == "__main__":
    Path(SCHEMA_FILE).write_text(sqlite_schema(), encoding="utf-8")
