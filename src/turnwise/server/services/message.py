"""Messages of a conversation: what may be stored, and how."""

from __future__ import annotations

from collections.abc import Sequence

from turnwise.server.errors import BadRequest
from turnwise.server.ids import Clock, NewId
from turnwise.server.services.activity import check_activity
from turnwise.server.services.fields import check_meta, check_text, given, given_fields
from turnwise.server.services.idempotency import KeyedRequest, done_once
from turnwise.server.services.meter import UNMETERED, Meter
from turnwise.server.services.vote import vote_of
from turnwise.server.storage.base import MessageQuery, Storage
from turnwise.types._base import OMIT
from turnwise.types.conversation import ConversationSendRequest, SendResult
from turnwise.types.message import (
    DownvoteRequest,
    Message,
    MessageCreateRequest,
    MessageCreateResult,
    MessageId,
    MessageUpdateRequest,
    UpvoteRequest,
)

__all__ = ["MessageService"]


class MessageService:
    """Stores and reads messages."""

    def __init__(self, storage: Storage, *, new_id: NewId, clock: Clock) -> None:
        self._storage = storage
        self._new_id = new_id
        self._clock = clock

    async def send(
        self,
        account_id: str,
        conversation_id: str,
        request: ConversationSendRequest,
        *,
        keyed: KeyedRequest | None,
        meter: Meter = UNMETERED,
    ) -> SendResult:
        """Store a user's message; no reply is made."""
        check_text(request.text, "$.text")
        text = request.text.strip()
        if not text:
            raise BadRequest("$.text: at least 1 character that is not white space is needed.")
        moment = self._clock()
        message = Message(id=self._new_id(), type="user", text=text, created_at=moment, updated_at=moment)
        storage = self._storage
        return await done_once(
            keyed,
            SendResult(id=message.id),
            meter.storing(1, lambda once: storage.add_messages(account_id, conversation_id, (message,), once=once)),
        )

    async def create(
        self,
        account_id: str,
        conversation_id: str,
        request: MessageCreateRequest,
        *,
        keyed: KeyedRequest | None,
        meter: Meter = UNMETERED,
    ) -> MessageCreateResult:
        """Store a message of any type, its text unaltered."""
        check_text(request.text, "$.text")
        check_meta(request.meta, "$.meta")
        check_activity(request.type, request.meta, "$")
        storage, moment = self._storage, self._clock()
        message = Message(
            id=self._new_id(),
            type=request.type,
            text=request.text,
            name=given(request.name),
            description=given(request.description),
            meta=given(request.meta),
            created_at=moment,
            updated_at=moment,
        )
        return await done_once(
            keyed,
            MessageCreateResult(id=message.id),
            meter.storing(1, lambda once: storage.add_messages(account_id, conversation_id, (message,), once=once)),
        )

    async def fetch(self, account_id: str, conversation_id: str, message_id: str) -> Message:
        """Return a message."""
        return await self._storage.fetch_message(account_id, conversation_id, message_id)

    async def list(self, account_id: str, conversation_id: str, query: MessageQuery) -> Sequence[Message]:
        """Return a page of messages."""
        return await self._storage.list_messages(account_id, conversation_id, query)

    async def update(
        self,
        account_id: str,
        conversation_id: str,
        message_id: str,
        request: MessageUpdateRequest,
        *,
        keyed: KeyedRequest | None,
    ) -> MessageId:
        """Change what is given; `meta` is merged key by key."""
        if isinstance(request.text, str):
            check_text(request.text, "$.text")
        check_meta(request.meta, "$.meta")
        if request.type is not OMIT or request.meta is not OMIT:
            await self._check_updated_activity(account_id, conversation_id, message_id, request)
        changes = given_fields(request, "type", "text", "name", "description", "meta")
        now = self._clock()
        return await done_once(
            keyed,
            MessageId(id=message_id),
            lambda once: self._storage.update_message(
                account_id, conversation_id, message_id, changes, now=now, once=once
            ),
        )

    async def _check_updated_activity(
        self, account_id: str, conversation_id: str, message_id: str, request: MessageUpdateRequest
    ) -> None:
        stored = await self._storage.fetch_message(account_id, conversation_id, message_id)
        kind = stored.type if request.type is OMIT else request.type
        meta = stored.meta
        if request.meta is not OMIT:
            meta = {**(stored.meta or {}), **request.meta} if request.meta is not None else None
        check_activity(kind, meta, "$")

    async def delete(
        self, account_id: str, conversation_id: str, message_id: str, *, keyed: KeyedRequest | None
    ) -> MessageId:
        """Delete a message."""
        return await done_once(
            keyed,
            MessageId(id=message_id),
            lambda once: self._storage.delete_message(account_id, conversation_id, message_id, once=once),
        )

    async def vote(
        self,
        account_id: str,
        conversation_id: str,
        message_id: str,
        request: UpvoteRequest | DownvoteRequest,
        *,
        keyed: KeyedRequest | None,
    ) -> MessageId:
        """Vote for or against a message; one vote in a while counts."""
        vote = vote_of(request, at=self._clock())
        return await done_once(
            keyed,
            MessageId(id=message_id),
            lambda once: self._storage.vote_message(account_id, conversation_id, message_id, vote, once=once),
        )
