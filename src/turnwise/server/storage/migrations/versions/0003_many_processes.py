"""What many processes on one database share: rates of accounts and session tokens, and what turns wait for."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, Text, text

revision: Final = "0003"
down_revision: Final = "0002"

_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add tables, and to turns their place in line; what is stored stays as it is."""
    _line()
    _rates()
    _writers()
    _waits()


def _line() -> None:
    place = Column("queued_at", BigInteger, comment="its place in its conversation's line, by the database's clock")
    op.add_column("turns", place)
    op.execute("UPDATE turns SET queued_at = created_at WHERE state = 'waiting'")
    op.drop_index("turns_waiting", "turns")
    waiting = text("state = 'waiting'")
    op.create_index(
        "turns_waiting", "turns", ["conversation", "queued_at"], sqlite_where=waiting, postgresql_where=waiting
    )


def _rates() -> None:
    op.create_table(
        "rates",
        Column("subject", _TEXT, nullable=False, comment="an account's id, or a session token's"),
        Column("period", BigInteger, nullable=False, comment="of five seconds, since 1970"),
        Column("process", _TEXT, nullable=False),
        Column("requests", BigInteger, nullable=False),
        Column("messages", BigInteger, nullable=False),
        Column("tokens", BigInteger, nullable=False),
        Column("turns", BigInteger, nullable=False, comment="at once, when the row was written"),
        PrimaryKeyConstraint("subject", "period", "process"),
        sqlite_with_rowid=False,
    )
    op.create_index("rates_purge", "rates", ["period"])


def _writers() -> None:
    op.create_table(
        "writers",
        Column("id", _TEXT, nullable=False),
        Column("last_group", BigInteger, nullable=False, comment="the number of the last group it committed"),
        Column("used_at", BigInteger, nullable=False, comment="by the database's clock"),
        PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )


def _waits() -> None:
    op.create_table(
        "waits",
        Column("turn", _TEXT, nullable=False),
        Column("call_id", _TEXT, nullable=False),
        Column("attempt", Integer, nullable=False, comment="of the turn: the row of an earlier one holds no longer"),
        Column("channel", _TEXT, nullable=False),
        PrimaryKeyConstraint("turn", "call_id"),
        sqlite_with_rowid=False,
    )
