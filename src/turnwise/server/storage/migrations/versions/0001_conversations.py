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
        Column("id", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("id"),
        UniqueConstraint("name", name="accounts_name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "secrets",
        Column("id", Text, nullable=False),
        Column("account", Text, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("hint", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("revoked_at", BigInteger),
        PrimaryKeyConstraint("id"),
        UniqueConstraint("digest", name="secrets_digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("secrets_account", "secrets", ["account"])
    op.create_table(
        "settings",
        Column("name", Text, nullable=False),
        Column("value", LargeBinary, nullable=False),
        PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )


def _conversations() -> None:
    op.create_table(
        "conversations",
        Column("key", _KEY, primary_key=True, autoincrement=True),
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
    op.create_index("conversations_list", "conversations", ["account", "created_at", "id"])
    there = text("expires_at IS NOT NULL")
    op.create_index("conversations_expiry", "conversations", ["expires_at"], sqlite_where=there, postgresql_where=there)
    op.create_table(
        "conversation_texts",
        Column("conversation", _KEY, nullable=False),
        Column("description", Text),
        Column("meta", Text),
        Column("backstory", Text),
        PrimaryKeyConstraint("conversation"),
    )
    op.create_table(
        "conversation_terms",
        Column("account", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("value", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("id", Text, nullable=False),
        Column("kinds", Integer, nullable=False),
        PrimaryKeyConstraint("account", "name", "value", "created_at", "id"),
        sqlite_with_rowid=False,
    )


def _messages() -> None:
    op.create_table(
        "messages",
        Column("conversation", _KEY, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("id", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("name", Text),
        Column("description", Text),
        Column("meta", Text),
        Column("text", Text, nullable=False),
        PrimaryKeyConstraint("conversation", "sequence"),
        UniqueConstraint("conversation", "id", name="messages_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "votes",
        Column("conversation", _KEY, nullable=False),
        Column("message", Text, nullable=False, comment="empty: the conversation itself"),
        Column("at", BigInteger, nullable=False),
        Column("value", Integer, nullable=False),
        Column("reason", Text),
        PrimaryKeyConstraint("conversation", "message", "at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "used_tokens",
        Column("conversation", _KEY, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("model", Text, nullable=False),
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
        Column("message_id", Text),
        Column("answer", LargeBinary),
        UniqueConstraint("digest", name="idempotency_digest"),
    )


def _removed() -> None:
    op.create_table(
        "removed_conversations",
        Column("conversation", _KEY, nullable=False),
        Column("id", Text, nullable=False),
        Column("account", Text, nullable=False),
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
        Column("id", Text, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("removed_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("conversation", "id"),
        sqlite_with_rowid=False,
    )
    op.create_index("removed_messages_purge", "removed_messages", ["removed_at"])
