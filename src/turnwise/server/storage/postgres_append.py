"""Messages that conversations get and nothing else, the most frequent write: one statement stores those of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from turnwise.server.storage.base import Once
from turnwise.server.storage.jobs.idempotency import digest_of
from turnwise.server.storage.jobs.messages import add_messages
from turnwise.server.storage.jobs.rows import Database, Value, packed_meta, whole
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_connection import numbered, stored_text
from turnwise.types.message import Message

if TYPE_CHECKING:
    import asyncpg

    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["Append", "append_together", "appended_of"]

_SQL: Final = load("writers", dialect="postgres")
_APPEND: Final = numbered(_SQL["append"])
_APPENDED: Final = numbered(_SQL["appended"])


class Append(msgspec.Struct, frozen=True, eq=False):
    """At least one message that a conversation gets, with the idempotency key of the request if it has one."""

    account_id: str
    conversation_id: str
    messages: Sequence[Message]
    now: int
    once: Once | None = None

    def __call__(self, db: Database) -> None:
        """Append them as any job would."""
        add_messages(db, self.account_id, self.conversation_id, self.messages, used=(), once=self.once, now=self.now)


async def append_together(
    connection: Connection, appends: Sequence[Append], *, writer: str, number: int
) -> Sequence[Append]:
    """Append what can be appended and note the group's number, in one statement; return what was appended.

    What was not is to be done by itself, and told why it cannot be: its conversation is not there, or the request was
    made before.
    """
    first = _first(appends)
    asked = [_request(append, digest) for append, digest in first]
    messages = [_row(nth, message) for nth, (append, _) in enumerate(first, 1) for message in append.messages]
    now = min(append.now for append in appends)
    values = (*_columns(asked), *_columns(messages), writer, number, now)
    accepted: list[asyncpg.Record] = await connection.fetch(_APPEND, *values)
    if len(accepted) == len(first) == len(appends):
        return appends
    return [first[int(row[0]) - 1][0] for row in accepted]


async def appended_of(connection: Connection, appends: Sequence[Append]) -> Sequence[Append]:
    """Return those of a group that were appended, where it is known that the group was committed."""
    conversations = [stored_text(append.conversation_id) for append in appends]
    ids = [stored_text(append.messages[0].id) for append in appends]
    found = {id_ for (id_,) in await connection.fetch(_APPENDED, conversations, ids)}
    return [append for append, id_ in zip(appends, ids, strict=True) if id_ in found]


def _first(appends: Sequence[Append]) -> list[tuple[Append, bytes | None]]:
    """Return appends with the digests of their keys; of several requests under one key the first."""
    found: dict[object, tuple[Append, bytes | None]] = {}
    for append in appends:
        once = append.once
        digest = None if once is None else digest_of(append.account_id, once.path, once.key)
        found.setdefault(digest or append, (append, digest))
    return list(found.values())


def _request(append: Append, digest: bytes | None) -> tuple[Value, ...]:
    place = append.conversation_id, append.account_id
    if append.once is None:
        return (*place, None, None, None, None)
    return (*place, digest, append.once.body, append.once.now, append.once.answer)


def _row(nth: int, message: Message) -> tuple[Value, ...]:
    return (
        nth,
        message.id,
        message.type,
        whole(message.created_at),
        whole(message.updated_at),
        message.name,
        message.description,
        packed_meta(message.meta),
        message.text,
    )


def _columns(rows: Sequence[tuple[Value, ...]]) -> list[Sequence[Value] | None]:
    return [_column(values) for values in zip(*rows, strict=True)]


def _column(values: Sequence[Value]) -> Sequence[Value] | None:
    """Return a column as it is sent; `None` where it holds nothing: the other columns tell how many rows there are."""
    texts = [value for value in values if type(value) is str]
    if texts:
        joined = "".join(texts)
        if stored_text(joined) is not joined:
            return [stored_text(value) if type(value) is str else value for value in values]
    elif values.count(None) == len(values):
        return None
    return values
