# ruff: noqa: D102 - the port, base.py, says what each method promises
"""Storage in an SQLite file: one thread that commits in groups, and a few that read beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from turnwise.server.errors import BadRequest, Conflict, Unavailable
from turnwise.server.ids import Clock
from turnwise.server.ids import now as wall_clock
from turnwise.server.storage.base import (
    Account,
    AlreadyDone,
    Changes,
    ConversationQuery,
    Exchange,
    MessageQuery,
    Once,
    SecretInfo,
    TurnStart,
    UsedTokens,
    Vote,
)
from turnwise.server.storage.database import connect, create_file, prepare
from turnwise.server.storage.jobs import accounts, conversations, idempotency, listing, upkeep
from turnwise.server.storage.jobs import messages as stored
from turnwise.server.storage.readers import ReaderPool
from turnwise.server.storage.writer import Connect, GroupWriter, Job
from turnwise.types.conversation import Conversation
from turnwise.types.message import Message
from turnwise.types.usage import ConversationUsage

__all__ = ["SqliteStorage"]

T = TypeVar("T")

PURGE_AT_ONCE: Final = 10
"""Rows a purge removes in one transaction: ten texts of a megabyte, overwritten, hold writers up for some 60 ms."""

_TAKEN: Final = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)


class SqliteStorage:
    """The storage port over one SQLite file, which several processes may share."""

    def __init__(
        self, path: Path, *, clock: Clock = wall_clock, writer: Callable[[Connect], GroupWriter] = GroupWriter
    ) -> None:
        self._path = path
        self._clock = clock
        self.writer = writer(self._prepare)
        self._readers = ReaderPool(lambda: connect(path, read_only=True))

    def _prepare(self) -> sqlite3.Connection:
        create_file(self._path)
        connection = connect(self._path)
        try:
            prepare(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    async def open(self) -> None:
        try:
            await self.writer.start()
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"The database {self._path} cannot be opened: {error}. Check that it is an SQLite file and that this "
                "user may write to it and its folder."
            ) from error
        self._readers.start()

    async def close(self) -> None:
        await self.writer.close()
        await self._readers.close()

    async def ready(self) -> bool:
        try:
            await self._read(lambda db: db.execute("SELECT 1 FROM alembic_version").fetchone())
        except Unavailable:
            return False
        return True

    async def _write(self, job: Job[T]) -> T:
        try:
            return await self.writer.run(job)
        except (UnicodeError, OverflowError, sqlite3.Error) as error:
            raise _refusal(error) from error

    async def _read(self, job: Job[T]) -> T:
        try:
            return await self._readers.run(job)
        except (UnicodeError, OverflowError, sqlite3.Error) as error:
            raise _refusal(error) from error

    # Accounts

    async def ensure_account(self, account: Account, *, now: int) -> Account:
        return await self._write(lambda db: accounts.ensure_account(db, account, now))

    async def accounts(self) -> Sequence[Account]:
        return await self._read(accounts.accounts)

    async def add_secret(self, account_id: str, *, secret_id: str, digest: bytes, hint: str, now: int) -> None:
        await self._write(
            lambda db: accounts.add_secret(db, account_id, secret_id=secret_id, digest=digest, hint=hint, now=now)
        )

    async def find_account(self, digest: bytes) -> Account | None:
        return await self._read(lambda db: accounts.find_account(db, digest))

    async def account_open(self, account_id: str) -> bool:
        return await self._read(lambda db: accounts.account_open(db, account_id))

    async def secrets(self) -> Sequence[SecretInfo]:
        return await self._read(accounts.secrets)

    async def revoke_secret(self, secret_id: str, *, now: int) -> SecretInfo:
        return await self._write(lambda db: accounts.revoke_secret(db, secret_id, now))

    async def signing_key(self, proposal: bytes) -> bytes:
        return await self._write(lambda db: accounts.signing_key(db, proposal))

    # Conversations

    async def create_conversation(
        self, account_id: str, conversation: Conversation, messages: Sequence[Message], *, once: Once | None = None
    ) -> None:
        await self._write(lambda db: stored.create_conversation(db, account_id, conversation, messages, once=once))

    async def fetch_conversation(self, account_id: str, conversation_id: str) -> Conversation:
        now = self._clock()
        _, found = await self._read(lambda db: conversations.fetch_conversation(db, account_id, conversation_id, now))
        return found

    async def update_conversation(
        self, account_id: str, conversation_id: str, changes: Changes, *, now: int, once: Once | None = None
    ) -> None:
        clock = self._clock()
        await self._write(
            lambda db: conversations.update_conversation(
                db, account_id, conversation_id, changes, moment=now, once=once, now=clock
            )
        )

    async def delete_conversation(self, account_id: str, conversation_id: str, *, once: Once | None = None) -> None:
        now = self._clock()
        await self._write(
            lambda db: conversations.delete_conversation(db, account_id, conversation_id, once=once, now=now)
        )

    async def list_conversations(self, account_id: str, query: ConversationQuery) -> Sequence[Conversation]:
        now = self._clock()
        return await self._read(lambda db: listing.list_conversations(db, account_id, query, now))

    async def vote_conversation(
        self, account_id: str, conversation_id: str, vote: Vote, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.vote_conversation(db, account_id, conversation_id, vote, once=once, now=now)
        )

    async def conversation_usage(
        self, account_id: str, conversation_id: str, *, begin: int, end: int
    ) -> ConversationUsage:
        now = self._clock()
        return await self._read(
            lambda db: stored.conversation_usage(db, account_id, conversation_id, begin=begin, end=end, now=now)
        )

    # Messages

    async def add_messages(
        self,
        account_id: str,
        conversation_id: str,
        messages: Sequence[Message],
        *,
        used: Sequence[UsedTokens] = (),
        once: Once | None = None,
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.add_messages(db, account_id, conversation_id, messages, used=used, once=once, now=now)
        )

    async def fetch_message(self, account_id: str, conversation_id: str, message_id: str) -> Message:
        now = self._clock()
        return await self._read(lambda db: stored.fetch_message(db, account_id, conversation_id, message_id, now))

    async def update_message(
        self,
        account_id: str,
        conversation_id: str,
        message_id: str,
        changes: Changes,
        *,
        now: int,
        once: Once | None = None,
    ) -> None:
        clock = self._clock()
        await self._write(
            lambda db: stored.update_message(
                db, account_id, conversation_id, message_id, changes, moment=now, once=once, now=clock
            )
        )

    async def delete_message(
        self, account_id: str, conversation_id: str, message_id: str, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.delete_message(db, account_id, conversation_id, message_id, once=once, now=now)
        )

    async def list_messages(self, account_id: str, conversation_id: str, query: MessageQuery) -> Sequence[Message]:
        now = self._clock()
        return await self._read(lambda db: stored.list_messages(db, account_id, conversation_id, query, now))

    async def vote_message(
        self, account_id: str, conversation_id: str, message_id: str, vote: Vote, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.vote_message(db, account_id, conversation_id, message_id, vote, once=once, now=now)
        )

    # Turns

    async def begin_turn(
        self,
        account_id: str,
        conversation_id: str,
        message: Message | None,
        *,
        recent: int,
        once: Once | None = None,
    ) -> TurnStart:
        now = self._clock()
        return await self._write(
            lambda db: stored.begin_turn(db, account_id, conversation_id, message, recent=recent, once=once, now=now)
        )

    async def end_turn(
        self, account_id: str, conversation_id: str, exchange: Exchange, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.end_turn(
                db, account_id, conversation_id, exchange.messages, used=exchange.used, once=once, now=now
            )
        )

    # Idempotency keys

    async def find_once(self, account_id: str, path: str, key: str) -> AlreadyDone | None:
        now = self._clock()
        return await self._read(lambda db: idempotency.find_once(db, account_id, path, key, now))

    async def remember(self, account_id: str, once: Once) -> None:
        await self._write(lambda db: idempotency.answer_once(db, account_id, once))

    # Upkeep

    async def purge(self, *, now: int, limit: int = 1000) -> int:
        gone = 0
        while gone < limit:
            batch = min(PURGE_AT_ONCE, limit - gone)
            removed = await self._write(partial(upkeep.purge, now=now, limit=batch))
            gone += removed
            if removed < batch:
                break
        return gone


def _refusal(error: Exception) -> Exception:
    """Return what to raise for an error of Python's or SQLite's."""
    match error:
        case UnicodeError():
            return BadRequest(
                "A text holds half of a surrogate pair (U+D800 to U+DFFF), which is no character. Send whole ones."
            )
        case OverflowError():
            return BadRequest("A number is too large to be stored. Send one that fits into 64 bits.")
        case sqlite3.IntegrityError() if error.sqlite_errorcode in _TAKEN:
            return Conflict("What is to be stored has an id that exists already. Use a new id.")
        case sqlite3.OperationalError():
            return Unavailable(f"The database did not do what was asked: {error}. Try again.", retry_after=1)
        case _:
            return RuntimeError(f"the database refused what it was given: {error}")
