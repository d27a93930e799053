"""What the tests of storage are made of: a clock that stands still, and wire objects in one line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.server.postgres import blocking, executed

from turnwise.server.ids import SortableIds
from turnwise.server.storage.base import Account, MessageQuery, Once
from turnwise.server.storage.journal import JournaledStorage, NewTurn, Place, Publication
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types.conversation import Conversation
from turnwise.types.message import Message

__all__ = [
    "DAY",
    "HOUR",
    "START",
    "Adapter",
    "PostgresAdapter",
    "Scene",
    "SqliteAdapter",
    "StillClock",
    "conversation",
    "message",
    "new_id",
    "new_turn",
    "once",
    "published",
]

START = 1_795_000_000_000
HOUR = 60 * 60 * 1000
DAY = 24 * HOUR

new_id = SortableIds()


@dataclass
class StillClock:
    """Shows the time it is set to."""

    now: int = START

    def __call__(self) -> int:
        return self.now


class Adapter(Protocol):
    """A database of its own, for storages to be opened on."""

    def storage(self, clock: StillClock) -> JournaledStorage: ...

    def rows(self, table: str) -> int:
        """Return how many rows a table has on disk."""
        ...

    def lapse(self, process_id: str) -> None:
        """Let a process's lease lapse, as if it had not been renewed in time."""
        ...


@dataclass
class SqliteAdapter:
    path: Path

    def storage(self, clock: StillClock) -> JournaledStorage:
        return SqliteStorage(self.path, clock=clock)

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our tables

    def lapse(self, process_id: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("UPDATE processes SET lease_until = 1 WHERE id = ?", (process_id,))

    def lease_until(self, process_id: str) -> int:
        """Return when a process's lease lapses."""
        with closing(sqlite3.connect(self.path)) as connection:
            found = connection.execute("SELECT lease_until FROM processes WHERE id = ?", (process_id,)).fetchone()
        return int(found[0])


@dataclass
class PostgresAdapter:
    url: str
    pooled: str | None = None
    """The URL through a pooler, where there is one in between."""

    def storage(self, clock: StillClock) -> JournaledStorage:
        return PostgresStorage(self.pooled or self.url, clock=clock)

    def rows(self, table: str) -> int:
        found = blocking(lambda: executed(self.url, f"SELECT count(*) FROM {table}"))  # noqa: S608 - our tables
        return int(found[0][0])

    def lapse(self, process_id: str) -> None:
        lapsed = "UPDATE processes SET lease_until = 1 WHERE id = $1"
        blocking(lambda: executed(self.url, lapsed, process_id))


@dataclass
class Scene:
    """An open storage with two accounts."""

    storage: JournaledStorage
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

    async def process(self, process_id: str = "p") -> str:
        """Begin a lease that lasts until it is made to lapse."""
        await self.storage.register_process(process_id, lease_ms=HOUR)
        return process_id

    async def start(self, conversation_id: str, text: str = "hello", *, process: str = "p", **fields: Any) -> Place:
        """Start a complete; return its place."""
        turn = new_turn(process, conversation_id=conversation_id, **{"now": self.clock.now, **fields})
        await self.storage.start_turn(turn, message(text, at=self.clock.now), recent=10)
        return Place(turn_id=turn.id, process_id=process, attempt=1)

    async def queue(self, channel: str, conversation_id: str | None = None, *, process: str = "p") -> Place:
        """Queue a dispatch; return its place."""
        turn = new_turn(process, kind="dispatch", conversation_id=conversation_id, channel_id=channel)
        assert await self.storage.queue_turn(turn) is None
        return Place(turn_id=turn.id, process_id=process, attempt=1)

    async def texts(self, conversation_id: str) -> list[str]:
        """Return the texts of a conversation's messages."""
        return [item.text for item in await self.storage.list_messages(self.me, conversation_id, MessageQuery())]


def conversation(*, at: int = START, **fields: Any) -> Conversation:
    values: dict[str, Any] = {"id": new_id(), "created_at": at, "updated_at": at, **fields}
    return Conversation(**values)


def message(text: str = "hello", *, at: int = START, **fields: Any) -> Message:
    values: dict[str, Any] = {"id": new_id(), "type": "user", "created_at": at, "updated_at": at, **fields}
    return Message(text=text, **values)


def new_turn(process: str = "p", **fields: Any) -> NewTurn:
    values: dict[str, Any] = {
        "id": new_id(),
        "account_id": "account-me",
        "conversation_id": None,
        "channel_id": None,
        "kind": "complete",
        "request": b"request",
        "now": START,
        **fields,
    }
    return NewTurn(process_id=process, **values)


def published(
    *lines: str, channel: str = "channel", account: str = "account-me", at: int = START, last_seq: int | None = None
) -> Publication:
    data = "\n".join(lines).encode()
    return Publication(account_id=account, channel_id=channel, data=data, count=len(lines), now=at, last_seq=last_seq)


def once(
    key: str = "key", *, path: str = "/path", body: bytes = b"body", now: int = START, answer: bytes | None = None
) -> Once:
    return Once(path=path, key=key, body=body, now=now, answer=answer)
