"""Messages that conversations get and nothing else, the most frequent write: one statement stores those of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from turnwise.server.storage.base import Once
from turnwise.server.storage.jobs.idempotency import digest_of
from turnwise.server.storage.jobs.messages import add_messages
from turnwise.server.storage.jobs.rows import Database, packed_meta
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_connection import ESCAPE, numbered, stored_text
from turnwise.types.message import Message

if TYPE_CHECKING:
    import asyncpg

    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["Append", "append_together", "appended_of"]

_SQL: Final = load("writers", dialect="postgres")
_APPEND: Final = numbered(_SQL["append"])
_APPENDED: Final = numbered(_SQL["appended"])


LONGEST: Final = 100_000_000
"""Characters of what one statement stores. PostgreSQL takes no more than 1 GB, and needs a multiple of it in memory."""

NUL: Final = r"\u0000"
_ENCODER: Final = msgspec.json.Encoder()


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


class _Row(msgspec.Struct, omit_defaults=True):
    """A message as it is sent; the first one of a request says what was asked."""

    nth: int
    """The request's place in the group."""
    id: str
    type: str
    created_at: int
    updated_at: int
    text: str
    name: str | None = None
    description: str | None = None
    meta: str | None = None
    conversation: str | None = None
    account: str | None = None
    digest: bytes | None = None
    body: bytes | None = None
    at: int | None = None
    answer: bytes | None = None


async def append_together(
    connection: Connection, appends: Sequence[Append], *, writer: str, number: int
) -> Sequence[Append]:
    """Append what can be appended and note the group's number, in one statement; return what was not.

    That is to be done by itself, and told why it cannot be: its conversation is not there, the request was made before,
    or it would be more than one statement should hold. Raises `UnicodeError` or `OverflowError` where something is
    nothing that can be stored.
    """
    first = _first(appends)
    sent = _encoded(_rows(first))
    if len(sent) > LONGEST:
        return appends
    refused: list[asyncpg.Record] = await connection.fetch(
        _APPEND, sent, writer, number, min(append.now for append in appends)
    )
    if not refused and len(first) == len(appends):
        return ()
    done = {append for append, _ in first} - {first[row[0] - 1][0] for row in refused}
    return [append for append in appends if append not in done]


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


def _rows(first: Sequence[tuple[Append, bytes | None]]) -> list[_Row]:
    rows: list[_Row] = []
    for nth, (append, digest) in enumerate(first, 1):
        place = len(rows)
        for message in append.messages:
            moments = int(message.created_at), int(message.updated_at)
            meta = None if message.meta is None else packed_meta(message.meta)
            rows.append(
                _Row(nth, message.id, message.type, *moments, message.text, message.name, message.description, meta)
            )
        asked, once = rows[place], append.once
        asked.conversation, asked.account = append.conversation_id, append.account_id
        if once is not None:
            asked.digest, asked.body, asked.at, asked.answer = digest, once.body, once.now, once.answer
    return rows


def _encoded(rows: Sequence[_Row]) -> str:
    """Return rows as JSON: asyncpg looks at each element of an array for longer than all of this takes."""
    encoded = _ENCODER.encode(rows).decode()
    if NUL in encoded or ESCAPE in encoded:
        for row in rows:
            for name in row.__struct_fields__:
                if type(value := getattr(row, name)) is str:
                    setattr(row, name, stored_text(value))
        encoded = _ENCODER.encode(rows).decode()
    return encoded
