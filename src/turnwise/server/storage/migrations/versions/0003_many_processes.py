"""What many processes on one database share: the rates of accounts and session tokens."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text

revision: Final = "0003"
down_revision: Final = "0002"

_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add tables; what is stored stays as it is."""
    _rates()


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
