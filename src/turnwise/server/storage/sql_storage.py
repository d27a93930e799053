# ruff: noqa: D102 - the port, base.py, says what each method promises
"""Storage in a database that speaks SQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

from turnwise.server.storage.base import (
    Account,
    AlreadyDone,
    Changes,
    ConversationQuery,
    MessageQuery,
    Once,
    SecretInfo,
    UsedTokens,
    Vote,
)
from turnwise.server.storage.jobs import (
    accounts,
    channels,
    conversations,
    idempotency,
    listing,
    rates,
    turns,
    upkeep,
    waits,
)
from turnwise.server.storage.jobs import messages as stored
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.rates import Others, Tally
from turnwise.server.storage.sql_journal import SqlJournal
from turnwise.types.conversation import Conversation
from turnwise.types.message import Message
from turnwise.types.usage import ConversationUsage

__all__ = ["SqlStorage"]

PURGE_AT_ONCE: Final = 10
"""Rows a purge removes in one transaction: SQLite overwrites them, ten texts of a megabyte in some 60 ms."""

ROWS_AT_ONCE: Final = 500
"""Rows of channels, and idempotency keys, that a purge removes in one transaction; it counts their bytes too."""


class SqlStorage(SqlJournal):
    """The storage port, the journal's with it, as jobs that a database runs."""

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
            ),
            to=conversation_id,
        )

    async def delete_conversation(self, account_id: str, conversation_id: str, *, once: Once | None = None) -> None:
        now = self._clock()
        await self._write(
            lambda db: conversations.delete_conversation(db, account_id, conversation_id, once=once, now=now),
            to=conversation_id,
        )

    async def list_conversations(self, account_id: str, query: ConversationQuery) -> Sequence[Conversation]:
        now = self._clock()
        return await self._read(lambda db: listing.list_conversations(db, account_id, query, now))

    async def vote_conversation(
        self, account_id: str, conversation_id: str, vote: Vote, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.vote_conversation(db, account_id, conversation_id, vote, once=once, now=now),
            to=conversation_id,
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
            lambda db: stored.add_messages(db, account_id, conversation_id, messages, used=used, once=once, now=now),
            to=conversation_id,
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
            ),
            to=conversation_id,
        )

    async def delete_message(
        self, account_id: str, conversation_id: str, message_id: str, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.delete_message(db, account_id, conversation_id, message_id, once=once, now=now),
            to=conversation_id,
        )

    async def list_messages(self, account_id: str, conversation_id: str, query: MessageQuery) -> Sequence[Message]:
        now = self._clock()
        return await self._read(lambda db: stored.list_messages(db, account_id, conversation_id, query, now))

    async def vote_message(
        self, account_id: str, conversation_id: str, message_id: str, vote: Vote, *, once: Once | None = None
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: stored.vote_message(db, account_id, conversation_id, message_id, vote, once=once, now=now),
            to=conversation_id,
        )

    # Idempotency keys

    async def find_once(self, account_id: str, path: str, key: str) -> AlreadyDone | None:
        now = self._clock()
        return await self._read(lambda db: idempotency.find_once(db, account_id, path, key, now))

    async def remember(self, account_id: str, once: Once) -> None:
        await self._write(lambda db: idempotency.answer_once(db, account_id, once))

    # Rates

    async def store_rates(self, process_id: str, tallies: Sequence[Tally]) -> None:
        await self._write(lambda db: rates.store_rates(db, process_id, tallies))

    async def find_rates(self, process_id: str, subjects: Sequence[str]) -> Others:
        return await self._read(lambda db: rates.find_rates(db, process_id, subjects))

    # Upkeep

    async def purge(self, *, now: int, limit: int = 1000) -> int:
        gone = 0
        for job, at_once in _PURGES:
            while gone < limit:
                batch = min(at_once, limit - gone)
                removed = await self._write(partial(job, now=now, limit=batch))
                gone += removed
                if removed == 0:
                    break
        return gone


class _Purge(Protocol):
    def __call__(self, db: Database, *, now: int, limit: int) -> int: ...


_PURGES: Final[Sequence[tuple[_Purge, int]]] = (
    (upkeep.purge, PURGE_AT_ONCE),
    (upkeep.purge_keys, ROWS_AT_ONCE),
    (turns.purge_turns, 10 * PURGE_AT_ONCE),
    (channels.purge_channels, ROWS_AT_ONCE),
    (rates.purge_rates, ROWS_AT_ONCE),
    (waits.purge_waits, ROWS_AT_ONCE),
)
