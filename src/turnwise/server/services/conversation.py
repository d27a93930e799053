"""Conversations: what may be stored, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from turnwise.server.errors import BadRequest
from turnwise.server.ids import Clock, NewId
from turnwise.server.models.base import Models
from turnwise.server.services.fields import check_messages, check_meta, given, given_fields
from turnwise.server.services.idempotency import KeyedRequest, done_once
from turnwise.server.services.meter import UNMETERED, Meter
from turnwise.server.services.reference import check_bot
from turnwise.server.services.vote import vote_of
from turnwise.server.storage.base import ConversationQuery, Storage
from turnwise.types.conversation import (
    Conversation,
    ConversationCreateRequest,
    ConversationCreateResult,
    ConversationFields,
    ConversationId,
    ConversationUpdateRequest,
)
from turnwise.types.message import DownvoteRequest, Message, MessageInput, TextMessage, UpvoteRequest
from turnwise.types.usage import ConversationUsage

__all__ = ["ConversationService"]

FIELDS: Final = (
    "name",
    "description",
    "meta",
    "model",
    "backstory",
    "privacy",
    "moderation",
    "contact_id",
    "task_id",
    "space_id",
    "expires_at",
)
LAST_MOMENT: Final = 8.64e15
USAGE_PERIOD: Final = 90 * 24 * 3600 * 1000


class ConversationService:
    """Stores and reads conversations."""

    def __init__(
        self, storage: Storage, models: Models, *, new_id: NewId, clock: Clock, deleted: Callable[[str], None]
    ) -> None:
        """`deleted` is told the id of a conversation that is no more."""
        self._deleted = deleted
        self._storage = storage
        self._models = models
        self._new_id = new_id
        self._clock = clock

    async def create(
        self,
        account_id: str,
        request: ConversationCreateRequest,
        *,
        keyed: KeyedRequest | None,
        meter: Meter = UNMETERED,
    ) -> ConversationCreateResult:
        """Store a conversation and the messages it begins with."""
        inputs = given(request.messages) or []
        await self._check(request)
        check_messages(inputs, "$.messages")
        moment = self._clock()
        conversation = Conversation(
            id=self._new_id(),
            created_at=moment,
            updated_at=moment,
            name=given(request.name),
            description=given(request.description),
            meta=given(request.meta),
            model=given(request.model) or None,
            backstory=given(request.backstory),
            privacy=given(request.privacy),
            moderation=given(request.moderation),
            contact_id=given(request.contact_id),
            task_id=given(request.task_id),
            space_id=given(request.space_id),
            expires_at=given(request.expires_at),
        )
        messages = [self._message(message, moment) for message in inputs]
        told = [TextMessage(type=message.type, text=message.text, meta=message.meta) for message in messages]
        return await done_once(
            keyed,
            ConversationCreateResult(id=conversation.id, messages=told or None),
            meter.storing(
                len(messages),
                lambda once: self._storage.create_conversation(account_id, conversation, messages, once=once),
            ),
        )

    async def fetch(self, account_id: str, conversation_id: str) -> Conversation:
        """Return a conversation."""
        return await self._storage.fetch_conversation(account_id, conversation_id)

    async def list(self, account_id: str, query: ConversationQuery) -> Sequence[Conversation]:
        """Return a page of conversations."""
        return await self._storage.list_conversations(account_id, query)

    async def update(
        self, account_id: str, conversation_id: str, request: ConversationUpdateRequest, *, keyed: KeyedRequest | None
    ) -> ConversationId:
        """Change what is given; `meta` is merged key by key."""
        await self._check(request)
        changes = given_fields(request, *FIELDS)
        now = self._clock()
        return await done_once(
            keyed,
            ConversationId(id=conversation_id),
            lambda once: self._storage.update_conversation(account_id, conversation_id, changes, now=now, once=once),
        )

    async def delete(self, account_id: str, conversation_id: str, *, keyed: KeyedRequest | None) -> ConversationId:
        """Delete a conversation with all it holds; its turns and its session tokens end."""
        result = await done_once(
            keyed,
            ConversationId(id=conversation_id),
            lambda once: self._storage.delete_conversation(account_id, conversation_id, once=once),
        )
        self._deleted(conversation_id)
        return result

    async def vote(
        self,
        account_id: str,
        conversation_id: str,
        request: UpvoteRequest | DownvoteRequest,
        *,
        keyed: KeyedRequest | None,
    ) -> ConversationId:
        """Vote for or against a conversation; one vote in a while counts."""
        vote = vote_of(request, at=self._clock())
        return await done_once(
            keyed,
            ConversationId(id=conversation_id),
            lambda once: self._storage.vote_conversation(account_id, conversation_id, vote, once=once),
        )

    async def usage(
        self, account_id: str, conversation_id: str, *, begin: str | None, end: str | None
    ) -> ConversationUsage:
        """Sum what was used between two moments in ISO 8601, both included; at most the last 90 days."""
        now = self._clock()
        last = _moment(end, "to") if end else now
        earliest = now - USAGE_PERIOD
        first = _moment(begin, "from") if begin else earliest
        if first > last:
            raise BadRequest("from: it lies after `to`. Give a period that begins before it ends.")
        return await self._storage.conversation_usage(
            account_id, conversation_id, begin=max(first, earliest), end=last + 1
        )

    def _message(self, message: MessageInput, moment: int) -> Message:
        return Message(
            id=self._new_id(),
            type=message.type,
            text=message.text,
            meta=given(message.meta),
            created_at=moment,
            updated_at=moment,
        )

    async def _check(self, request: ConversationFields) -> None:
        check_bot(request)
        check_meta(request.meta, "$.meta")
        expires_at = given(request.expires_at)
        if expires_at is not None and not 0 <= expires_at <= LAST_MOMENT:
            raise BadRequest("$.expiresAt: expected milliseconds since 1970-01-01T00:00:00Z.")
        if model := given(request.model):
            await self._models.resolve(model)


def _moment(text: str, name: str) -> int:
    try:
        # A `+` that was not percent-encoded arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    except ValueError:
        raise BadRequest(f"{name}: expected a moment in ISO 8601, such as 2026-01-31T12:00:00Z.") from None
    try:
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name}: this moment is out of range.") from None
