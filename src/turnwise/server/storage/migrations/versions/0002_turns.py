"""Processes and their leases, turns and what they made so far, channels and their messages."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, PrimaryKeyConstraint, Text, UniqueConstraint
from sqlalchemy import text as sql

revision: Final = "0002"
down_revision: Final = "0001"

_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
_KEY: Final = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Add the journal's tables; what is stored stays as it is."""
    _turns()
    _channels()


def _turns() -> None:
    op.create_table(
        "processes",
        Column("id", _TEXT, nullable=False),
        Column("lease_until", BigInteger, nullable=False),
        PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "turns",
        Column("id", _TEXT, nullable=False, comment="grows with time: purged from the front"),
        Column("account", _TEXT, nullable=False),
        Column("conversation", _TEXT),
        Column("channel", _TEXT),
        Column("kind", _TEXT, nullable=False),
        Column("state", _TEXT, nullable=False),
        Column("owner", _TEXT, nullable=False, comment="the process that runs it; empty: nobody"),
        Column("attempt", Integer, nullable=False),
        Column("cancel", Boolean, nullable=False),
        Column("tokens", BigInteger, nullable=False),
        Column("message", _TEXT, comment="the user's, once it is stored"),
        Column("reason", _TEXT),
        Column("created_at", BigInteger, nullable=False),
        Column("started_at", BigInteger),
        Column("ended_at", BigInteger),
        Column("steps", LargeBinary),
        Column("request", LargeBinary, nullable=False, comment="empty once the turn has ended"),
        PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    _partial("turns_running", "turns", ["conversation"], "state = 'running'", unique=True)
    _partial("turns_waiting", "turns", ["conversation", "created_at"], "state = 'waiting'")
    _partial("turns_unfinished", "turns", ["owner"], "ended_at IS NULL")
    op.create_index("turns_conversation", "turns", ["conversation", "created_at"])
    _partial("turns_channel", "turns", ["account", "channel"], "channel IS NOT NULL", unique=True)
    op.create_table(
        "turn_events",
        Column("turn", _TEXT, nullable=False),
        Column("seq", Integer, nullable=False, comment="0: the number of tokens alone"),
        Column("tokens", BigInteger, nullable=False),
        Column("text", _TEXT, nullable=False),
        PrimaryKeyConstraint("turn", "seq"),
        sqlite_with_rowid=False,
    )


def _channels() -> None:
    op.create_table(
        "channels",
        Column("key", _KEY, primary_key=True, autoincrement=True),
        Column("account", _TEXT, nullable=False),
        Column("channel", _TEXT, nullable=False),
        Column("given_seq", BigInteger, nullable=False, comment="the last number given out"),
        Column("last_seq", BigInteger, nullable=False, comment="of the last message"),
        Column("kept", BigInteger, nullable=False, comment="messages on disk"),
        Column("used_at", BigInteger, nullable=False),
        UniqueConstraint("account", "channel", name="channels_channel"),
    )
    _partial("channels_full", "channels", ["kept"], "kept > 10000")
    _partial("channels_empty", "channels", ["used_at"], "kept = 0")
    op.create_table(
        "channel_messages",
        Column("key", _KEY, primary_key=True, autoincrement=True),
        Column("channel", _KEY, nullable=False),
        Column("seq", BigInteger, nullable=False, comment="of the last message in the row"),
        Column("count", Integer, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("data", LargeBinary, nullable=False),
        UniqueConstraint("channel", "seq", name="channel_messages_seq"),
        sqlite_autoincrement=True,
    )


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    there = sql(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=there, postgresql_where=there)
