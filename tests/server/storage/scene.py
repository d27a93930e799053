"""What the tests of storage are made of: a clock that stands still, and wire objects in one line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from turnwise.server.ids import SortableIds
from turnwise.server.storage.base import Account, Once, Storage
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types.conversation import Conversation
from turnwise.types.message import Message

__all__ = ["DAY", "START", "Adapter", "Scene", "SqliteAdapter", "StillClock", "conversation", "message", "once"]

START = 1_795_000_000_000
DAY = 24 * 60 * 60 * 1000

new_id = SortableIds()


@dataclass
class StillClock:
    """Shows the time it is set to."""

    now: int = START

    def __call__(self) -> int:
        return self.now


class Adapter(Protocol):
    """A database of its own, for storages to be opened on."""

    def storage(self, clock: StillClock) -> Storage: ...

    def rows(self, table: str) -> int:
        """Return how many rows a table has on disk."""
        ...


@dataclass
class SqliteAdapter:
    path: Path

    def storage(self, clock: StillClock) -> Storage:
        return SqliteStorage(self.path, clock=clock)

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our tables


@dataclass
class Scene:
    """An open storage with two accounts."""

    storage: Storage
    adapter: Adapter
    clock: StillClock
    me: str = "account-me"
    other: str = "account-other"
    made: list[str] = field(default_factory=list[str])

    async def begin(self) -> None:
        for account in (self.me, self.other):
            await self.storage.ensure_account(Account(account, f"name of {account}"), now=self.clock.now)

    async def conversation(self, *texts: str, account: str | None = None, **fields: Any) -> str:
        """Store a conversation with these messages; return its id."""
        stored = conversation(**{"at": self.clock.now, **fields})
        messages = [message(text, at=self.clock.now) for text in texts]
        await self.storage.create_conversation(account or self.me, stored, messages)
        return stored.id

    async def message(self, conversation_id: str, text: str = "hello", **fields: Any) -> str:
        """Store a message; return its id."""
        stored = message(text, **{"at": self.clock.now, **fields})
        await self.storage.add_messages(self.me, conversation_id, [stored])
        return stored.id


def conversation(*, at: int = START, **fields: Any) -> Conversation:
    values: dict[str, Any] = {"id": new_id(), "created_at": at, "updated_at": at, **fields}
    return Conversation(**values)


def message(text: str = "hello", *, at: int = START, **fields: Any) -> Message:
    values: dict[str, Any] = {"id": new_id(), "type": "user", "created_at": at, "updated_at": at, **fields}
    return Message(text=text, **values)


def once(
    key: str = "key", *, path: str = "/path", body: bytes = b"body", now: int = START, answer: bytes | None = None
) -> Once:
    return Once(path=path, key=key, body=body, now=now, answer=answer)
