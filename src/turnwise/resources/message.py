"""Messages of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from turnwise._bind import async_, async_stream, sync, sync_stream
from turnwise._call import Call, CallOptions, StreamablePages
from turnwise._params import EntityParam, MetaParam, one, some
from turnwise._resource import AsyncResource, Resource
from turnwise.types._base import OMIT, Omit
from turnwise.types.conversation import EmptyRequest, Order
from turnwise.types.event import MessageItemEvent
from turnwise.types.message import (
    DownvoteRequest,
    Message,
    MessageCreateRequest,
    MessageCreateResult,
    MessageId,
    MessageType,
    MessageUpdateRequest,
    UpvoteRequest,
)

__all__ = ["AsyncMessageClient", "MessageClient"]

_ALL = "/api/v1/conversation/{conversationId}/message"
_ONE = _ALL + "/{messageId}"


def list_messages(
    conversation_id: str,
    /,
    cursor: str | None = None,
    *,
    order: Order | None | Omit = OMIT,
    take: int | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> StreamablePages[Message, MessageItemEvent]:
    """List the conversation's messages, oldest first unless `order` is `desc`.

    A page holds `take` messages, 100 unless given and at most; iterating over it goes on through all further pages.
    `cursor` is the last page's `cursor`: the list goes on after it. Streamed, `take` bounds the whole.
    """
    return StreamablePages(
        method="GET",
        path=f"{_ALL}/list",
        ids=(conversation_id,),
        query={"order": order, "take": take},
        cursor=cursor,
        options=options,
        item=Message,
        events=MessageItemEvent,
    )


def fetch_message(conversation_id: str, message_id: str, /, **options: Unpack[CallOptions]) -> Call[Message]:
    """Fetch a message."""
    return Call(method="GET", path=f"{_ONE}/fetch", ids=(conversation_id, message_id), options=options, result=Message)


def create_message(
    conversation_id: str,
    /,
    *,
    type: MessageType,
    text: str,
    name: str | None | Omit = OMIT,
    description: str | None | Omit = OMIT,
    meta: MetaParam | None | Omit = OMIT,
    entities: Sequence[EntityParam] | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[MessageCreateResult]:
    """Store a message as it is; no reply is made, no model is asked."""
    return Call(
        method="POST",
        path=f"{_ALL}/create",
        ids=(conversation_id,),
        body=MessageCreateRequest(
            type=type, text=text, name=name, description=description, meta=one(meta), entities=some(entities)
        ),
        options=options,
        result=MessageCreateResult,
    )


def update_message(
    conversation_id: str,
    message_id: str,
    /,
    *,
    type: MessageType | Omit = OMIT,
    text: str | Omit = OMIT,
    name: str | None | Omit = OMIT,
    description: str | None | Omit = OMIT,
    meta: MetaParam | None | Omit = OMIT,
    entities: Sequence[EntityParam] | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[MessageId]:
    """Change what is given and nothing else. `meta` is merged key by key; a key that is `None` is removed."""
    return Call(
        method="POST",
        path=f"{_ONE}/update",
        ids=(conversation_id, message_id),
        body=MessageUpdateRequest(
            type=type, text=text, name=name, description=description, meta=one(meta), entities=some(entities)
        ),
        options=options,
        result=MessageId,
    )


def delete_message(conversation_id: str, message_id: str, /, **options: Unpack[CallOptions]) -> Call[MessageId]:
    """Delete a message."""
    return Call(
        method="POST",
        path=f"{_ONE}/delete",
        ids=(conversation_id, message_id),
        body=EmptyRequest(),
        options=options,
        result=MessageId,
    )


def upvote_message(
    conversation_id: str,
    message_id: str,
    /,
    *,
    value: int | None | Omit = OMIT,
    reason: str | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[MessageId]:
    """Vote for a message: `value` from 1 to 100, 100 unless given. A repeated vote changes nothing."""
    return Call(
        method="POST",
        path=f"{_ONE}/upvote",
        ids=(conversation_id, message_id),
        body=UpvoteRequest(value=value, reason=reason),
        options=options,
        result=MessageId,
    )


def downvote_message(
    conversation_id: str,
    message_id: str,
    /,
    *,
    value: int | None | Omit = OMIT,
    reason: str | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[MessageId]:
    """Vote against a message: `value` from -100 to -1, -100 unless given. A repeated vote changes nothing."""
    return Call(
        method="POST",
        path=f"{_ONE}/downvote",
        ids=(conversation_id, message_id),
        body=DownvoteRequest(value=value, reason=reason),
        options=options,
        result=MessageId,
    )


class MessageClient(Resource):
    """Messages of conversations."""

    list = sync(list_messages)
    list_stream = sync_stream(list_messages)
    fetch = sync(fetch_message)
    create = sync(create_message)
    update = sync(update_message)
    delete = sync(delete_message)
    upvote = sync(upvote_message)
    downvote = sync(downvote_message)


class AsyncMessageClient(AsyncResource):
    """Messages of conversations; every method is awaited, iterated over or entered."""

    list = async_(list_messages)
    list_stream = async_stream(list_messages)
    fetch = async_(fetch_message)
    create = async_(create_message)
    update = async_(update_message)
    delete = async_(delete_message)
    upvote = async_(upvote_message)
    downvote = async_(downvote_message)
