# ruff: noqa: D103 - the port, base.py, says what the methods promise that these carry out
"""Messages, votes and usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from msgspec.structs import replace

from turnwise.server.errors import BadRequest
from turnwise.server.storage.base import Changes, MessageQuery, Once, UsedTokens, Vote
from turnwise.server.storage.jobs.conversations import add_conversation, extend_conversation, owned
from turnwise.server.storage.jobs.idempotency import remember_once
from turnwise.server.storage.jobs.rows import Database, Row, merged_meta, missing, packed_meta, run, to_message, whole
from turnwise.server.storage.jobs.statements import load
from turnwise.types.conversation import Conversation
from turnwise.types.message import Message
from turnwise.types.usage import ConversationUsage

__all__ = [
    "add_messages",
    "append",
    "conversation_usage",
    "create_conversation",
    "delete_message",
    "fetch_message",
    "list_messages",
    "newest",
    "update_message",
    "vote_conversation",
    "vote_message",
]

SQL: Final = load("messages")

_FIXED: Final = frozenset({"id", "created_at", "updated_at"})
_CHANGEABLE: Final = frozenset(Message.__struct_fields__) - _FIXED
_FIRST: Final = {"asc": 0, "desc": 2**63 - 1}


def create_conversation(
    db: Database,
    account_id: str,
    conversation: Conversation,
    messages: Sequence[Message],
    *,
    once: Once | None,
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    add_conversation(db, account_id, conversation, messages=len(messages))
    _insert(db, conversation.id, messages)


def add_messages(
    db: Database,
    account_id: str,
    conversation_id: str,
    messages: Sequence[Message],
    *,
    used: Sequence[UsedTokens],
    once: Once | None,
    now: int,
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    append(db, account_id, conversation_id, messages, used=used, now=now)


def append(
    db: Database,
    account_id: str,
    conversation_id: str,
    messages: Sequence[Message],
    *,
    used: Sequence[UsedTokens],
    now: int,
) -> None:
    """Append messages and usage to a conversation; `NotFound` and `Forbidden` come before anything is written."""
    if messages:
        moment = max(each.created_at for each in messages)
        extend_conversation(db, account_id, conversation_id, count=len(messages), moment=moment, now=now)
        _insert(db, conversation_id, messages)
    if used or not messages:
        key = owned(db, account_id, conversation_id, now)
        for turn in used:
            run(db, SQL["add_used"], key, turn.at, turn.model, turn.input_tokens, turn.output_tokens)


def newest(db: Database, key: int, count: int) -> list[Message]:
    """Return the last `count` messages of a conversation, oldest first."""
    rows = run(db, SQL["list_desc"], key, _FIRST["desc"], count).fetchall()
    return [to_message(row) for row in reversed(rows)]


def fetch_message(db: Database, account_id: str, conversation_id: str, message_id: str, now: int) -> Message:
    key = owned(db, account_id, conversation_id, now)
    return to_message(_row(db, key, message_id))


def update_message(
    db: Database,
    account_id: str,
    conversation_id: str,
    message_id: str,
    changes: Changes,
    *,
    moment: int,
    once: Once | None,
    now: int,
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    key = owned(db, account_id, conversation_id, now)
    row = _row(db, key, message_id)
    old = to_message(row)
    unknown = changes.keys() - _CHANGEABLE
    if unknown:
        raise ValueError(f"a message's {sorted(unknown)} cannot be changed, only {sorted(_CHANGEABLE)}")
    fields = dict(changes)
    if "meta" in fields:
        fields["meta"] = merged_meta(old.meta, fields["meta"])
    new = replace(old, **fields)
    texts = (new.name, new.description, packed_meta(new.meta))
    run(db, SQL["update"], new.type, new.text, moment, *texts, key, row[-1])


def delete_message(
    db: Database, account_id: str, conversation_id: str, message_id: str, *, once: Once | None, now: int
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    key = owned(db, account_id, conversation_id, now)
    row = run(db, SQL["delete"], key, message_id).fetchone()
    if row is None:
        raise missing("message", message_id)
    run(db, SQL["mark_removed"], key, message_id, row[0], now)


def list_messages(db: Database, account_id: str, conversation_id: str, query: MessageQuery, now: int) -> list[Message]:
    key = owned(db, account_id, conversation_id, now)
    place = _FIRST[query.order] if query.cursor is None else _sequence(db, key, query.cursor)
    return [to_message(row) for row in run(db, SQL[f"list_{query.order}"], key, place, query.take)]


def vote_conversation(
    db: Database, account_id: str, conversation_id: str, vote: Vote, *, once: Once | None, now: int
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    key = owned(db, account_id, conversation_id, now)
    _vote(db, key, "", vote)


def vote_message(
    db: Database,
    account_id: str,
    conversation_id: str,
    message_id: str,
    vote: Vote,
    *,
    once: Once | None,
    now: int,
) -> None:
    if once is not None:
        remember_once(db, account_id, once)
    key = owned(db, account_id, conversation_id, now)
    if run(db, SQL["sequence"], key, message_id).fetchone() is None:
        raise missing("message", message_id)
    _vote(db, key, message_id, vote)


def conversation_usage(
    db: Database, account_id: str, conversation_id: str, *, begin: int, end: int, now: int
) -> ConversationUsage:
    key = owned(db, account_id, conversation_id, now)
    return ConversationUsage(
        tokens=run(db, SQL["sum_used"], key, begin, end).fetchone()[0],
        messages=run(db, SQL["count"], key, begin, end).fetchone()[0],
    )


def _insert(db: Database, conversation_id: str, messages: Sequence[Message]) -> None:
    """Insert the messages that the conversation was made room for."""
    for after, message in zip(reversed(range(len(messages))), messages, strict=True):
        run(
            db,
            SQL["add"],
            after,
            message.id,
            message.type,
            whole(message.created_at),
            whole(message.updated_at),
            message.name,
            message.description,
            packed_meta(message.meta),
            message.text,
            conversation_id,
        )


def _row(db: Database, key: int, message_id: str) -> Row:
    row = cast("Row | None", run(db, SQL["fetch"], key, message_id).fetchone())
    if row is None:
        raise missing("message", message_id)
    return row


def _sequence(db: Database, key: int, cursor: str) -> int:
    for statement in (SQL["sequence"], SQL["removed_sequence"]):
        row = run(db, statement, key, cursor).fetchone()
        if row is not None:
            return cast("int", row[0])
    raise BadRequest(f"cursor: {cursor!r} is no message of this conversation. Give a cursor that `list` answered.")


def _vote(db: Database, key: int, message_id: str, vote: Vote) -> None:
    run(db, SQL["vote"], key, message_id, vote.at, vote.value, vote.reason, vote.window)
