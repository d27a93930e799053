"""Accounts, conversations, messages, votes, usage and idempotency keys."""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)

revision: Final = "0001"
down_revision: Final = None

_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
_KEY: Final = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Make the tables of the first version."""
    _accounts()
    _conversations()
    _messages()
    _requests()
    _removed()


def _accounts() -> None:
    op.create_table(
        "accounts",
        Column("id", _TEXT, nullable=False),
        Column("name", _TEXT, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("id"),
        UniqueConstraint("name", name="accounts_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "secrets",
        Column("id", _TEXT, nullable=False),
        Column("account", _TEXT, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("hint", _TEXT, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("revoked_at", BigInteger),
        PrimaryKeyConstraint("id"),
        UniqueConstraint("digest", name="secrets_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("secrets_account", "secrets", ["account"])
    op.create_table(
        "settings",
        Column("name", _TEXT, nullable=False),
        Column("value", LargeBinary, nullable=False),
        PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        Column("key", _KEY, primary_key=True, autoincrement=True),
        Column("id", _TEXT, nullable=False),
        Column("account", _TEXT, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger),
        Column("last_sequence", BigInteger, nullable=False),
        Column("name", _TEXT),
        Column("bot_id", _TEXT),
        Column("model", _TEXT),
        Column("dataset_id", _TEXT),
        Column("skillset_id", _TEXT),
        Column("privacy", Boolean),
        Column("moderation", Boolean),
        Column("contact_id", _TEXT),
        Column("task_id", _TEXT),
        Column("space_id", _TEXT),
        UniqueConstraint("id", name="conversations_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("conversations_list", "conversations", ["account", "created_at", "id"])
    there = text("expires_at IS NOT NULL")
    op.create_index("conversations_expiry", "conversations", ["expires_at"], sqlite_where=there, postgresql_where=there)
    op.create_table(
        "conversation_texts",
        Column("conversation", _KEY, nullable=False, autoincrement=False),
        Column("description", _TEXT),
        Column("meta", _TEXT),
        Column("backstory", _TEXT),
        PrimaryKeyConstraint("conversation"),
    )
    op.create_table(
        "conversation_terms",
        Column("account", _TEXT, nullable=False),
        Column("name", _TEXT, nullable=False),
        Column("value", _TEXT, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("id", _TEXT, nullable=False),
        Column("kinds", Integer, nullable=False),
        PrimaryKeyConstraint("account", "name", "value", "created_at", "id"),
        sqlite_with_rowid=False,
    )


def _messages() -> None:
    op.create_table(
        "messages",
        Column("conversation", _KEY, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("id", _TEXT, nullable=False),
        Column("type", _TEXT, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("name", _TEXT),
        Column("description", _TEXT),
        Column("meta", _TEXT),
        Column("text", _TEXT, nullable=False),
        PrimaryKeyConstraint("conversation", "sequence"),
        UniqueConstraint("conversation", "id", name="messages_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "votes",
        Column("conversation", _KEY, nullable=False),
        Column("message", _TEXT, nullable=False, comment="empty: the conversation itself"),
        Column("at", BigInteger, nullable=False),
        Column("value", Integer, nullable=False),
        Column("reason", _TEXT),
        PrimaryKeyConstraint("conversation", "message", "at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "used_tokens",
        Column("conversation", _KEY, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("model", _TEXT, nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        PrimaryKeyConstraint("conversation", "at", "model"),
        sqlite_with_rowid=False,
    )


def _requests() -> None:
    op.create_table(
        "idempotency",
        Column("key", _KEY, primary_key=True, autoincrement=True),
        Column("digest", LargeBinary, nullable=False, comment="of account, path and the request's key"),
        Column("body", LargeBinary, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("message_id", _TEXT),
        Column("answer", LargeBinary),
        UniqueConstraint("digest", name="idempotency_digest"),
    )


def _removed() -> None:
    op.create_table(
        "removed_conversations",
        Column("conversation", _KEY, nullable=False, autoincrement=False),
        Column("id", _TEXT, nullable=False),
        Column("account", _TEXT, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("removed_at", BigInteger, nullable=False),
        Column("emptied", Boolean, nullable=False),
        PrimaryKeyConstraint("conversation"),
        UniqueConstraint("id", name="removed_conversations_id"),
    )
    op.create_index("removed_conversations_purge", "removed_conversations", ["emptied", "removed_at"])
    op.create_table(
        "removed_messages",
        Column("conversation", _KEY, nullable=False),
        Column("id", _TEXT, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("removed_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("conversation", "id"),
        sqlite_with_rowid=False,
    )
    op.create_index("removed_messages_purge", "removed_messages", ["removed_at"])
