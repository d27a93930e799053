"""Structs to rows and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from turnwise.server.errors import Forbidden, NotFound
from turnwise.types.conversation import Conversation
from turnwise.types.message import Message

__all__ = [
    "Database",
    "Result",
    "Row",
    "Value",
    "forbidden",
    "merged_meta",
    "missing",
    "packed_meta",
    "run",
    "some_of",
    "to_conversation",
    "to_message",
    "whole",
]

Value = str | int | float | bytes | None
"""What a column holds."""

Row = tuple[Value, ...]

BYTES_AT_ONCE: Final = 1024 * 1024
"""Bytes a purge removes in one commit, or one row; overwriting them holds writers up."""


class Result(Protocol):
    """What a statement did and found, as `sqlite3.Cursor` has it; rows are read once, from the first to the last."""

    @property
    def rowcount(self) -> int:
        """How many rows it wrote."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 - its statement knows what a row holds
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Database(Protocol):
    """What jobs ask of a connection: SQLite's own is one."""

    def execute(self, statement: str, values: Sequence[Value] = ..., /) -> Result:
        """Execute a statement."""
        ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Value]], /) -> object:
        """Execute a statement that returns no rows, once for each row of values."""
        ...


def run(db: Database, statement: str, *values: Value) -> Result:
    """Execute a statement."""
    return db.execute(statement, values)


def some_of(rows: Sequence[tuple[int, ...]]) -> Sequence[tuple[int, ...]]:
    """Return the first rows, the first at least, that hold `BYTES_AT_ONCE` together; a row's last value is its size."""
    total = 0
    for number, row in enumerate(rows):
        total += row[-1]
        if total > BYTES_AT_ONCE:
            return rows[: max(number, 1)]
    return rows


def packed_meta(meta: Mapping[str, object] | None) -> str | None:
    """Return meta as it is stored: JSON text."""
    return None if meta is None else msgspec.json.encode(meta).decode()


def merged_meta(old: Mapping[str, object] | None, new: object) -> dict[str, object] | None:
    """Return `old` with the keys of `new` set, or removed where they are `None`; `None` clears all."""
    if new is None:
        return None
    merged = {**(old or {}), **cast("Mapping[str, object]", new)}
    return {key: value for key, value in merged.items() if value is not None}


def whole(moment: float | None) -> int | None:
    """Return a moment as it is stored: whole milliseconds, the fraction dropped."""
    return None if moment is None else int(moment)


def to_conversation(row: Row) -> Conversation:
    """Return the conversation in a row of conversations.sql's `columns`."""
    (
        id_,
        created_at,
        updated_at,
        name,
        description,
        meta,
        bot_id,
        model,
        backstory,
        dataset_id,
        skillset_id,
        privacy,
        moderation,
        contact_id,
        task_id,
        space_id,
        expires_at,
        *_,
    ) = cast("tuple[str, ...]", row)
    return Conversation(
        id=id_,
        created_at=cast("int", created_at),
        updated_at=cast("int", updated_at),
        name=name,
        description=description,
        meta=_unpacked(meta),
        bot_id=bot_id,
        model=model,
        backstory=backstory,
        dataset_id=dataset_id,
        skillset_id=skillset_id,
        privacy=_truth(privacy),
        moderation=_truth(moderation),
        contact_id=contact_id,
        task_id=task_id,
        space_id=space_id,
        expires_at=cast("int | None", expires_at),
    )


def to_message(row: Row) -> Message:
    """Return the message in a row of messages.sql's `columns`."""
    id_, type_, text, created_at, updated_at, name, description, meta, *_ = cast("tuple[str, ...]", row)
    return Message(
        id=id_,
        type=type_,
        text=text,
        created_at=cast("int", created_at),
        updated_at=cast("int", updated_at),
        name=name,
        description=description,
        meta=_unpacked(meta),
    )


def missing(noun: str, id_: str) -> NotFound:
    """Return the refusal of an id that does not exist."""
    return NotFound(f"There is no {noun} {id_!r}: it never existed, was deleted, or expired.")


def forbidden(id_: str) -> Forbidden:
    """Return the refusal of a conversation of another account."""
    return Forbidden(f"The conversation {id_!r} belongs to another account. Use that account's secret.")


def _unpacked(meta: str | None) -> dict[str, object] | None:
    return None if meta is None else cast("dict[str, object]", msgspec.json.decode(meta))


def _truth(value: object) -> bool | None:
    return None if value is None else bool(value)
