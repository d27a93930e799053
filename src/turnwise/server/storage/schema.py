"""The schema, as SQLAlchemy Core metadata, written for SQLite and PostgreSQL alike.

Nothing imports this module on a normal start: a fresh database is made from `sql/sqlite_schema.sql` or
`sql/postgres_schema.sql`, which `python -m turnwise.server.storage.schema` writes from here, and Alembic upgrades older
ones.

Seven ideas carry the cost of the hot paths:

- A conversation has an integer key besides its id, never used twice, and messages are clustered under
  (conversation, sequence): the last page of the longest conversation is as near as that of the shortest.
- What changes with every message (`updated_at`, `last_sequence`) lies in a short row; long texts lie beside it.
- Everything a list filters by is a term, in one inverted index that is clustered in the list's own order.
- What was deleted leaves a row in `removed_*`: what is still to be purged, and where a cursor that names it stood.
- A turn's row is written when it begins, at each step and when it ends; between those, what it made is appended to
  `turn_events`, and the end takes it away. Partial indexes hold the few turns that have not ended.
- A process counts for itself in `rates`, a row for five seconds of a subject: nobody waits for another's row.
- A row of `channel_messages` holds what was published at once, one message or a hundred. Keys grow with time, so that
  what is an hour old is found at the front.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from turnwise.server.storage.database import POSTGRES_SCHEMA_FILE, SCHEMA_FILE, SCHEMA_VERSION

__all__ = ["metadata", "postgres_schema", "sqlite_schema"]

metadata: Final = MetaData()

_text: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared by code point, as SQLite and Python do, whatever the database's own collation."""

_key: Final = BigInteger().with_variant(Integer, "sqlite")

Table(
    "accounts",
    metadata,
    Column("id", _text, primary_key=True),
    Column("name", _text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("name", name="accounts_name"),
    sqlite_with_rowid=False,
)

Table(
    "secrets",
    metadata,
    Column("id", _text, primary_key=True),
    Column("account", _text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("hint", _text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    UniqueConstraint("digest", name="secrets_digest"),
    Index("secrets_account", "account"),
    sqlite_with_rowid=False,
)

Table(
    "settings",
    metadata,
    Column("name", _text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

conversations: Final = Table(
    "conversations",
    metadata,
    Column("key", _key, primary_key=True, autoincrement=True),
    Column("id", _text, nullable=False),
    Column("account", _text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_sequence", BigInteger, nullable=False),
    Column("name", _text),
    Column("bot_id", _text),
    Column("model", _text),
    Column("dataset_id", _text),
    Column("skillset_id", _text),
    Column("privacy", Boolean),
    Column("moderation", Boolean),
    Column("contact_id", _text),
    Column("task_id", _text),
    Column("space_id", _text),
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
    Column("description", _text),
    Column("meta", _text),
    Column("backstory", _text),
)

Table(
    "conversation_terms",
    metadata,
    Column("account", _text, primary_key=True),
    Column("name", _text, primary_key=True),
    Column("value", _text, primary_key=True),
    Column("created_at", BigInteger, primary_key=True),
    Column("id", _text, primary_key=True),
    Column("kinds", Integer, nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "messages",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("id", _text, nullable=False),
    Column("type", _text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("name", _text),
    Column("description", _text),
    Column("meta", _text),
    Column("text", _text, nullable=False),
    UniqueConstraint("conversation", "id", name="messages_id"),
    sqlite_with_rowid=False,
)

Table(
    "votes",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("message", _text, primary_key=True, comment="empty: the conversation itself"),
    Column("at", BigInteger, primary_key=True),
    Column("value", Integer, nullable=False),
    Column("reason", _text),
    sqlite_with_rowid=False,
)

Table(
    "used_tokens",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True),
    Column("model", _text, primary_key=True),
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
    Column("message_id", _text),
    Column("answer", LargeBinary),
    UniqueConstraint("digest", name="idempotency_digest"),
)

removed_conversations: Final = Table(
    "removed_conversations",
    metadata,
    Column("conversation", _key, primary_key=True, autoincrement=False),
    Column("id", _text, nullable=False),
    Column("account", _text, nullable=False),
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
    Column("id", _text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("removed_at", BigInteger, nullable=False),
    Index("removed_messages_purge", "removed_at"),
    sqlite_with_rowid=False,
)

Table(
    "processes",
    metadata,
    Column("id", _text, primary_key=True),
    Column("lease_until", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

turns: Final = Table(
    "turns",
    metadata,
    Column("id", _text, primary_key=True, comment="grows with time: purged from the front"),
    Column("account", _text, nullable=False),
    Column("conversation", _text),
    Column("channel", _text),
    Column("kind", _text, nullable=False),
    Column("state", _text, nullable=False),
    Column("owner", _text, nullable=False, comment="the process that runs it; empty: nobody"),
    Column("attempt", Integer, nullable=False),
    Column("cancel", Boolean, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("message", _text, comment="the user's, once it is stored"),
    Column("reason", _text),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("steps", LargeBinary),
    Column("request", LargeBinary, nullable=False, comment="empty once the turn has ended"),
    Column("queued_at", BigInteger, comment="its place in its conversation's line, by the database's clock"),
    sqlite_with_rowid=False,
)
_running: Final = text("state = 'running'")
_waiting: Final = text("state = 'waiting'")
_unfinished: Final = text("ended_at IS NULL")
_channelled: Final = text("channel IS NOT NULL")
Index("turns_running", turns.c.conversation, unique=True, sqlite_where=_running, postgresql_where=_running)
Index("turns_waiting", turns.c.conversation, turns.c.queued_at, sqlite_where=_waiting, postgresql_where=_waiting)
Index("turns_unfinished", turns.c.owner, sqlite_where=_unfinished, postgresql_where=_unfinished)
Index("turns_conversation", turns.c.conversation, turns.c.created_at)
Index(
    "turns_channel",
    turns.c.account,
    turns.c.channel,
    unique=True,
    sqlite_where=_channelled,
    postgresql_where=_channelled,
)

Table(
    "turn_events",
    metadata,
    Column("turn", _text, primary_key=True),
    Column("seq", Integer, primary_key=True, comment="0: the number of tokens alone"),
    Column("tokens", BigInteger, nullable=False),
    Column("text", _text, nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "waits",
    metadata,
    Column("turn", _text, primary_key=True),
    Column("call_id", _text, primary_key=True),
    Column("attempt", Integer, nullable=False, comment="of the turn: the row of an earlier one holds no longer"),
    Column("channel", _text, nullable=False),
    sqlite_with_rowid=False,
)

channels: Final = Table(
    "channels",
    metadata,
    Column("key", _key, primary_key=True, autoincrement=True),
    Column("account", _text, nullable=False),
    Column("channel", _text, nullable=False),
    Column("given_seq", BigInteger, nullable=False, comment="the last number given out"),
    Column("last_seq", BigInteger, nullable=False, comment="of the last message"),
    Column("kept", BigInteger, nullable=False, comment="messages on disk"),
    Column("used_at", BigInteger, nullable=False),
    UniqueConstraint("account", "channel", name="channels_channel"),
)
_full: Final = text("kept > 10000")
_empty: Final = text("kept = 0")
Index("channels_full", channels.c.kept, sqlite_where=_full, postgresql_where=_full)
Index("channels_empty", channels.c.used_at, sqlite_where=_empty, postgresql_where=_empty)

Table(
    "channel_messages",
    metadata,
    Column("key", _key, primary_key=True, autoincrement=True),
    Column("channel", _key, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="of the last message in the row"),
    Column("count", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("channel", "seq", name="channel_messages_seq"),
    sqlite_autoincrement=True,
)

# Each process writes its own rows, whole numbers instead of additions: a write that is repeated changes nothing.
Table(
    "rates",
    metadata,
    Column("subject", _text, primary_key=True, comment="an account's id, or a session token's"),
    Column("period", BigInteger, primary_key=True, autoincrement=False, comment="of five seconds, since 1970"),
    Column("process", _text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("turns", BigInteger, nullable=False, comment="at once, when the row was written"),
    Index("rates_purge", "period"),
    sqlite_with_rowid=False,
)

# PostgreSQL's alone. Written with every group, so that who lost the connection at a commit can look what became of it.
Table(
    "writers",
    metadata,
    Column("id", _text, primary_key=True),
    Column("last_group", BigInteger, nullable=False, comment="the number of the last group it committed"),
    Column("used_at", BigInteger, nullable=False, comment="by the database's clock"),
    sqlite_with_rowid=False,
)


def sqlite_schema() -> str:
    """Return the statements that make a fresh SQLite database, the version Alembic reads included."""
    return _schema(sqlite.dialect())


def postgres_schema() -> str:
    """Return the statements that make the tables in an empty PostgreSQL database, Alembic's included."""
    return _schema(PGDialect())  # type: ignore[no-untyped-call]


def _schema(dialect: Dialect) -> str:
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
    Path(POSTGRES_SCHEMA_FILE).write_text(postgres_schema(), encoding="utf-8")
