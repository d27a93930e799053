"""The port to storage.

Objects are the wire's own structs, ids and times made by the caller. Every write is one atomic commit and returns
only after it is durable. A write may be `Once`: then the same commit remembers the request's idempotency key together
with the answer, and raises `AlreadyDone`, changing nothing, where the key is known.

Conversations that expired do not exist for any method. `NotFound` is raised for what does not exist, `Forbidden` for
what belongs to another account (both from `turnwise.server.errors`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from turnwise.server.storage.rates import RateStore
from turnwise.types.conversation import Conversation, Order
from turnwise.types.message import Message
from turnwise.types.usage import ConversationUsage

__all__ = [
    "Account",
    "AlreadyDone",
    "Changes",
    "ConversationQuery",
    "Exchange",
    "Filter",
    "MessageQuery",
    "Once",
    "SecretInfo",
    "Storage",
    "TurnStart",
    "UsedTokens",
    "Vote",
]


@dataclass(frozen=True, slots=True)
class Account:
    """Whose data it is."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """What is known of a secret; the secret itself is not."""

    id: str
    account: Account
    hint: str
    """Its first characters, to recognise it by."""
    created_at: int
    revoked_at: int | None


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotent request, identified by account, path and key."""

    path: str
    key: str
    body: bytes
    """A hash of the request's body."""
    now: int
    answer: bytes | None = None
    """What a repeat is answered with; `None` while there is no answer that ended by itself."""


class AlreadyDone(Exception):
    """The request was seen before: `body` is its hash, `answer` what it was answered with, if it ended by itself."""

    def __init__(self, *, body: bytes, answer: bytes | None, message_id: str | None) -> None:
        super().__init__("this request was done before")
        self.body = body
        self.answer = answer
        self.message_id = message_id
        """The user's message that was stored by a request that has no answer."""


Changes = Mapping[str, object]
"""Fields to set, by their Python names. `None` clears a field. In `meta`, a mapping, keys merge and `None` removes."""

Filter = Mapping[str, str | bool | int | float]
"""Keys of `meta` (dots for nested ones are plain characters) and the values they must have; all must hold.

A string matches a stored string, and a stored number or boolean that is written so.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuery:
    """A page of messages: `take` of them after the message `cursor`, by creation."""

    cursor: str | None = None
    order: Order = "asc"
    take: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationQuery:
    """A page of conversations. Every given filter must hold; several ids in one filter are alternatives."""

    cursor: str | None = None
    order: Order = "desc"
    take: int = 100
    meta: Filter = field(default_factory=dict[str, str | bool | int | float])
    bot_ids: tuple[str, ...] = ()
    contact_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A vote on a conversation, or on one of its messages."""

    value: int
    reason: str | None
    at: int
    window: int
    """Milliseconds in which only one vote per conversation or message counts; a later one in it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedTokens:
    """What one model turn used."""

    model: str
    input_tokens: int
    output_tokens: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStart:
    """What a turn begins with, read in the commit that stored the user's message."""

    conversation: Conversation
    history: Sequence[Message]
    """The newest messages, oldest first, the user's new one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a turn leaves behind."""

    messages: Sequence[Message]
    used: Sequence[UsedTokens] = ()


class Storage(RateStore, Protocol):
    """Accounts, conversations, messages, votes, usage, idempotency keys and rates."""

    async def open(self) -> None:
        """Open the database; make or upgrade its schema, safely beside other processes doing the same."""
        ...

    async def close(self) -> None:
        """Finish accepted writes and close. Calls after it raise `Unavailable`."""
        ...

    async def ready(self) -> bool:
        """Tell whether the database answers, and can be written to."""
        ...

    # Accounts

    async def ensure_account(self, account: Account, *, now: int) -> Account:
        """Return the account of that name; make it with this id if there is none."""
        ...

    async def accounts(self) -> Sequence[Account]:
        """Return all accounts, by name."""
        ...

    async def add_secret(self, account_id: str, *, secret_id: str, digest: bytes, hint: str, now: int) -> None:
        """Store a secret's digest; one this account has already is made valid again, one of another is `Conflict`."""
        ...

    async def find_account(self, digest: bytes) -> Account | None:
        """Return whose secret has this digest, unless it was revoked."""
        ...

    async def account_open(self, account_id: str) -> bool:
        """Tell whether the account still has a secret that was not revoked."""
        ...

    async def secrets(self) -> Sequence[SecretInfo]:
        """Return all secrets, by account name and creation."""
        ...

    async def revoke_secret(self, secret_id: str, *, now: int) -> SecretInfo:
        """Revoke a secret; `NotFound` if there is none of that id."""
        ...

    async def signing_key(self, proposal: bytes) -> bytes:
        """Return the key that signs session tokens; the first proposal is kept for ever."""
        ...

    # Conversations

    async def create_conversation(
        self, account_id: str, conversation: Conversation, messages: Sequence[Message], *, once: Once | None = None
    ) -> None:
        """Store a conversation and the messages it begins with."""
        ...

    async def fetch_conversation(self, account_id: str, conversation_id: str) -> Conversation:
        """Return a conversation."""
        ...

    async def update_conversation(
        self, account_id: str, conversation_id: str, changes: Changes, *, now: int, once: Once | None = None
    ) -> None:
        """Change the given fields and `updated_at`."""
        ...

    async def delete_conversation(self, account_id: str, conversation_id: str, *, once: Once | None = None) -> None:
        """Delete a conversation: gone from answers at once, its messages from disk soon after.

        Its turns that have not ended are to be cancelled.
        """
        ...

    async def list_conversations(self, account_id: str, query: ConversationQuery) -> Sequence[Conversation]:
        """Return up to `take` conversations after the cursor, ordered by (created_at, id).

        The cursor is an item's id, also of one that was deleted in the last 24 hours; any other is `BadRequest`.
        The cost follows the page and the matches, never the number of conversations stored.
        """
        ...

    async def vote_conversation(
        self, account_id: str, conversation_id: str, vote: Vote, *, once: Once | None = None
    ) -> None:
        """Record a vote, unless one was counted within its window."""
        ...

    async def conversation_usage(
        self, account_id: str, conversation_id: str, *, begin: int, end: int
    ) -> ConversationUsage:
        """Sum tokens and messages created in `begin <= at < end`."""
        ...

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
        """Append messages, in order; the conversation's `updated_at` becomes the latest one's `created_at`.

        Where a conversation's `updated_at` is later than theirs, by another process's clock, it becomes theirs: so the
        order in which messages were stored is that of their times, too.
        """
        ...

    async def fetch_message(self, account_id: str, conversation_id: str, message_id: str) -> Message:
        """Return a message of that conversation."""
        ...

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
        """Change the given fields and `updated_at`."""
        ...

    async def delete_message(
        self, account_id: str, conversation_id: str, message_id: str, *, once: Once | None = None
    ) -> None:
        """Delete a message."""
        ...

    async def list_messages(self, account_id: str, conversation_id: str, query: MessageQuery) -> Sequence[Message]:
        """Return up to `take` messages after the cursor, in the order they were stored (or the reverse).

        The cursor is a message's id, also of one that was deleted in the last 24 hours; any other is `BadRequest`.
        """
        ...

    async def vote_message(
        self, account_id: str, conversation_id: str, message_id: str, vote: Vote, *, once: Once | None = None
    ) -> None:
        """Record a vote, unless one was counted within its window."""
        ...

    # Idempotency keys

    async def find_once(self, account_id: str, path: str, key: str) -> AlreadyDone | None:
        """Return what is remembered of a request."""
        ...

    async def remember(self, account_id: str, once: Once) -> None:
        """Remember a request that wrote nothing else (a stateless completion, say)."""
        ...

    # Upkeep

    async def purge(self, *, now: int, limit: int = 1000) -> int:
        """Remove from disk up to `limit` rows of what expired or was deleted; idempotency keys after 24 hours.

        Returns how many went; call again until it returns 0. Writers are not blocked for long.
        """
        ...
