# ruff: noqa: D103 - the port, base.py, says what the methods promise that these carry out
"""Conversations."""

from __future__ import annotations

from typing import Final, cast

from msgspec.structs import replace

from turnwise.server.storage.base import Changes, Once
from turnwise.server.storage.jobs.idempotency import remember_once
from turnwise.server.storage.jobs.rows import (
    Database,
    Row,
    Value,
    forbidden,
    merged_meta,
    missing,
    packed_meta,
    run,
    to_conversation,
    whole,
)
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.jobs.terms import Terms, terms
from turnwise.types.conversation import Conversation

__all__ = [
    "add_conversation",
    "delete_conversation",
    "extend_conversation",
    "fetch_conversation",
    "owned",
    "remove_conversation",
    "update_conversation",
]

SQL: Final = load("conversations")

_FIXED: Final = frozenset({"id", "created_at", "updated_at"})
_CHANGEABLE: Final = frozenset(Conversation.__struct_fields__) - _FIXED


def owned(db: Database, account_id: str, conversation_id: str, now: int) -> int:
    """Return the key of a conversation that exists and belongs to the account."""
    row = cast("Row | None", run(db, SQL["owner"], conversation_id).fetchone())
    if row is None:
        raise missing("conversation", conversation_id)
    key, account, expires_at = row
    _check(conversation_id, account_id, (account, expires_at), now)
    return cast("int", key)


def fetch_conversation(db: Database, account_id: str, conversation_id: str, now: int) -> tuple[int, Conversation]:
    """Return a conversation with its key."""
    row = cast("Row | None", run(db, SQL["fetch"], conversation_id).fetchone())
    if row is None:
        raise missing("conversation", conversation_id)
    *_, expires_at, key, account = row
    _check(conversation_id, account_id, (account, expires_at), now)
    return cast("int", key), to_conversation(row)


def add_conversation(db: Database, account_id: str, conversation: Conversation, *, messages: int) -> None:
    """Store a conversation that is to hold so many messages."""
    cursor = run(
        db,
        SQL["add"],
        conversation.id,
        account_id,
        whole(conversation.created_at),
        whole(conversation.updated_at),
        whole(conversation.expires_at),
        messages,
        *_small(conversation),
    )
    key = cast("int", cursor.fetchone()[0])
    _set_texts(db, key, conversation)
    _set_terms(db, account_id, conversation, {}, terms(conversation))


def update_conversation(
    db: Database,
    account_id: str,
    conversation_id: str,
    changes: Changes,
    *,
    moment: int,
    once: Once | None,
    now: int,
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    owned(db, account_id, conversation_id, now)  # so that what is read next stays as it is until it is written
    key, old = fetch_conversation(db, account_id, conversation_id, now)
    unknown = changes.keys() - _CHANGEABLE
    if unknown:
        raise ValueError(f"a conversation's {sorted(unknown)} cannot be changed, only {sorted(_CHANGEABLE)}")
    fields = dict(changes)
    if "meta" in fields:
        fields["meta"] = merged_meta(old.meta, fields["meta"])
    new = replace(old, **fields)
    run(db, SQL["update"], moment, whole(new.expires_at), *_small(new), key)
    if (new.description, new.meta, new.backstory) != (old.description, old.meta, old.backstory):
        _set_texts(db, key, new)
    _set_terms(db, account_id, old, terms(old), terms(new))


def delete_conversation(db: Database, account_id: str, conversation_id: str, *, once: Once | None, now: int) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    owned(db, account_id, conversation_id, now)
    remove_conversation(db, conversation_id, now)


def remove_conversation(db: Database, conversation_id: str, now: int) -> None:
    """Remove a conversation from every list and end its turns; what it holds is left to be purged."""
    row = cast("Row", run(db, SQL["fetch"], conversation_id).fetchone())
    conversation = to_conversation(row)
    key, account_id = row[-2], cast("str", row[-1])
    run(db, SQL["delete"], key)
    run(db, SQL["cancel_turns"], conversation_id)
    run(db, SQL["delete_texts"], key)
    _set_terms(db, account_id, conversation, terms(conversation), {})
    run(db, SQL["mark_removed"], key, conversation_id, account_id, whole(conversation.created_at), now)


def extend_conversation(
    db: Database, account_id: str, conversation_id: str, *, count: int, moment: float, now: int
) -> None:
    """Make room for `count` messages, the last of them created at `moment`."""
    cursor = run(db, SQL["extend"], count, whole(moment), conversation_id, account_id, now)
    if cursor.rowcount == 0:
        owned(db, account_id, conversation_id, now)
        raise AssertionError(f"{conversation_id!r} was refused, and exists")


def _check(conversation_id: str, account_id: str, owner: tuple[Value, Value], now: int) -> None:
    """Raise unless `owner` (account, expiry) is that account and the conversation has not expired."""
    account, expires_at = owner
    if expires_at is not None and cast("int", expires_at) <= now:
        raise missing("conversation", conversation_id)
    if account != account_id:
        raise forbidden(conversation_id)


def _small(conversation: Conversation) -> tuple[Value, ...]:
    return (
        conversation.name,
        conversation.bot_id,
        conversation.model,
        conversation.dataset_id,
        conversation.skillset_id,
        conversation.privacy,
        conversation.moderation,
        conversation.contact_id,
        conversation.task_id,
        conversation.space_id,
    )


def _set_texts(db: Database, key: int, conversation: Conversation) -> None:
    texts = (conversation.description, packed_meta(conversation.meta), conversation.backstory)
    if any(text is not None for text in texts):
        run(db, SQL["set_texts"], key, *texts)
    else:
        run(db, SQL["delete_texts"], key)


def _set_terms(db: Database, account_id: str, conversation: Conversation, old: Terms, new: Terms) -> None:
    if old == new:
        return
    place = (whole(conversation.created_at), conversation.id)
    for name, value in old.keys() - new.keys():
        run(db, SQL["delete_term"], account_id, name, value, *place)
    for (name, value), kinds in new.items():
        if old.get((name, value)) != kinds:
            run(db, SQL["set_term"], account_id, name, value, *place, kinds)
