"""Conversations as they are stored, and the clients for all that is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Unpack

from turnwise._bind import (
    async_,
    async_either,
    async_either_dispatch,
    async_either_stream,
    async_stream,
    sync,
    sync_either,
    sync_either_dispatch,
    sync_either_stream,
    sync_stream,
)
from turnwise._call import Call, CallOptions, StreamablePages
from turnwise._params import (
    IdsParam,
    MessageParam,
    MetaParam,
    ModelParam,
    MomentParam,
    joined,
    message_inputs,
    model_text,
    moment_text,
    one,
)
from turnwise._resource import AsyncResource, Resource, over
from turnwise.resources.dispatch import (
    cancel_dispatch,
    cancel_turn,
    dispatch_conversation,
    dispatch_stateless,
    fetch_turn,
)
from turnwise.resources.exchange import complete_conversation, complete_stateless, receive_message, send_message
from turnwise.resources.message import AsyncMessageClient, MessageClient
from turnwise.resources.run import run_conversation, run_stateless
from turnwise.resources.session import AsyncSessionClient, SessionClient
from turnwise.types._base import OMIT, Milliseconds, Omit
from turnwise.types.conversation import (
    Conversation,
    ConversationCreateRequest,
    ConversationCreateResult,
    ConversationId,
    ConversationUpdateRequest,
    EmptyRequest,
    Order,
)
from turnwise.types.event import (
    ConversationItemEvent,
)
from turnwise.types.message import DownvoteRequest, UpvoteRequest
from turnwise.types.usage import ConversationUsage

__all__ = ["AsyncConversationClient", "ConversationClient"]

_ALL = "/api/v1/conversation"
_ONE = _ALL + "/{conversationId}"


def list_conversations(
    cursor: str | None = None,
    *,
    order: Order | None | Omit = OMIT,
    take: int | None | Omit = OMIT,
    meta: MetaParam | None | Omit = OMIT,
    bot_id: IdsParam | None | Omit = OMIT,
    contact_id: IdsParam | None | Omit = OMIT,
    task_id: IdsParam | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> StreamablePages[Conversation, ConversationItemEvent]:
    """List conversations, newest first unless `order` is `asc`.

    A page holds `take` conversations, 100 unless given and at most; iterating over it goes on through all further
    pages. `cursor` is the last page's `cursor`: the list goes on after it. Streamed, `take` bounds the whole.
    `meta` finds the conversations whose metadata has these values, all of them; of several ids any may match.
    """
    return StreamablePages(
        method="GET",
        path=f"{_ALL}/list",
        query={
            "order": order,
            "take": take,
            "meta": meta,
            "botId": joined(bot_id),
            "contactId": joined(contact_id),
            "taskId": joined(task_id),
        },
        cursor=cursor,
        options=options,
        item=Conversation,
        events=ConversationItemEvent,
    )


def export_conversations(
    cursor: str | None = None,
    *,
    order: Order | None | Omit = OMIT,
    take: int | None | Omit = OMIT,
    meta: MetaParam | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> StreamablePages[Conversation, ConversationItemEvent]:
    """Export conversations: pages as in `list`; `export_stream` has the server walk them."""
    return StreamablePages(
        method="GET",
        path=f"{_ALL}/export",
        query={"order": order, "take": take, "meta": meta},
        cursor=cursor,
        options=options,
        item=Conversation,
        events=ConversationItemEvent,
    )


def fetch_conversation(conversation_id: str, /, **options: Unpack[CallOptions]) -> Call[Conversation]:
    """Fetch a conversation."""
    return Call(method="GET", path=f"{_ONE}/fetch", ids=(conversation_id,), options=options, result=Conversation)


def create_conversation(
    *,
    name: str | None | Omit = OMIT,
    description: str | None | Omit = OMIT,
    meta: MetaParam | None | Omit = OMIT,
    bot_id: str | None | Omit = OMIT,
    model: ModelParam | None | Omit = OMIT,
    backstory: str | None | Omit = OMIT,
    dataset_id: str | None | Omit = OMIT,
    skillset_id: str | None | Omit = OMIT,
    privacy: bool | None | Omit = OMIT,
    moderation: bool | None | Omit = OMIT,
    contact_id: str | None | Omit = OMIT,
    task_id: str | None | Omit = OMIT,
    space_id: str | None | Omit = OMIT,
    expires_at: Milliseconds | None | Omit = OMIT,
    messages: Sequence[MessageParam] | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[ConversationCreateResult]:
    """Create a conversation, with the bot `bot_id` names or with one described here, and the messages it begins with.

    `model` is a name, with or without settings, or a `Model`. `meta` is open; its keys do not start with `_`. The
    conversation is deleted after `expires_at`, in milliseconds since 1970.
    """
    return Call(
        method="POST",
        path=f"{_ALL}/create",
        body=ConversationCreateRequest(
            name=name,
            description=description,
            meta=one(meta),
            bot_id=bot_id,
            model=model_text(model),
            backstory=backstory,
            dataset_id=dataset_id,
            skillset_id=skillset_id,
            privacy=privacy,
            moderation=moderation,
            contact_id=contact_id,
            task_id=task_id,
            space_id=space_id,
            expires_at=expires_at,
            messages=message_inputs(messages),
        ),
        options=options,
        result=ConversationCreateResult,
    )


def update_conversation(
    conversation_id: str,
    /,
    *,
    name: str | None | Omit = OMIT,
    description: str | None | Omit = OMIT,
    meta: MetaParam | None | Omit = OMIT,
    bot_id: str | None | Omit = OMIT,
    model: ModelParam | None | Omit = OMIT,
    backstory: str | None | Omit = OMIT,
    dataset_id: str | None | Omit = OMIT,
    skillset_id: str | None | Omit = OMIT,
    privacy: bool | None | Omit = OMIT,
    moderation: bool | None | Omit = OMIT,
    contact_id: str | None | Omit = OMIT,
    task_id: str | None | Omit = OMIT,
    space_id: str | None | Omit = OMIT,
    expires_at: Milliseconds | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[ConversationId]:
    """Change what is given and nothing else.

    `meta` is merged key by key, and a key that is `None` is removed; `expires_at=None` keeps the conversation for good.
    """
    return Call(
        method="POST",
        path=f"{_ONE}/update",
        ids=(conversation_id,),
        body=ConversationUpdateRequest(
            name=name,
            description=description,
            meta=one(meta),
            bot_id=bot_id,
            model=model_text(model),
            backstory=backstory,
            dataset_id=dataset_id,
            skillset_id=skillset_id,
            privacy=privacy,
            moderation=moderation,
            contact_id=contact_id,
            task_id=task_id,
            space_id=space_id,
            expires_at=expires_at,
        ),
        options=options,
        result=ConversationId,
    )


def delete_conversation(conversation_id: str, /, **options: Unpack[CallOptions]) -> Call[ConversationId]:
    """Delete a conversation with its messages; its session tokens end."""
    return Call(
        method="POST",
        path=f"{_ONE}/delete",
        ids=(conversation_id,),
        body=EmptyRequest(),
        options=options,
        result=ConversationId,
    )


def upvote_conversation(
    conversation_id: str,
    /,
    *,
    value: int | None | Omit = OMIT,
    reason: str | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[ConversationId]:
    """Vote for a conversation: `value` from 1 to 100, 100 unless given. A repeated vote changes nothing."""
    return Call(
        method="POST",
        path=f"{_ONE}/upvote",
        ids=(conversation_id,),
        body=UpvoteRequest(value=value, reason=reason),
        options=options,
        result=ConversationId,
    )


def downvote_conversation(
    conversation_id: str,
    /,
    *,
    value: int | None | Omit = OMIT,
    reason: str | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[ConversationId]:
    """Vote against a conversation: `value` from -100 to -1, -100 unless given. A repeated vote changes nothing."""
    return Call(
        method="POST",
        path=f"{_ONE}/downvote",
        ids=(conversation_id,),
        body=DownvoteRequest(value=value, reason=reason),
        options=options,
        result=ConversationId,
    )


def fetch_usage(
    conversation_id: str,
    /,
    *,
    from_: MomentParam | None | Omit = OMIT,
    to: MomentParam | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> Call[ConversationUsage]:
    """Sum tokens and messages between two moments, at most 90 days back."""
    return Call(
        method="GET",
        path=f"{_ONE}/usage/fetch",
        ids=(conversation_id,),
        query={"from": moment_text(from_), "to": moment_text(to)},
        options=options,
        result=ConversationUsage,
    )


class ConversationClient(Resource):
    """Conversations, and the exchanges with a bot.

    Every method takes keywords or, in their place, one mapping in the wire's own camelCase; beside either the options
    of every call: `timeout`, `retries`, `extra_headers`, `extra_query`, `extra_body`. Every result, page and stream
    has `response` (status and headers) and `request_id`. What goes wrong is raised as a `TurnwiseError`.
    """

    list = sync(list_conversations)
    list_stream = sync_stream(list_conversations)
    fetch = sync(fetch_conversation)
    create = sync(create_conversation)
    update = sync(update_conversation)
    delete = sync(delete_conversation)
    complete = sync_either(complete_stateless, complete_conversation)
    complete_stream = sync_either_stream(complete_stateless, complete_conversation)
    send = sync(send_message)
    send_stream = sync_stream(send_message)
    receive = sync(receive_message)
    receive_stream = sync_stream(receive_message)
    run = sync_either(run_stateless, run_conversation)
    run_stream = sync_either_stream(run_stateless, run_conversation)
    dispatch = sync_either(dispatch_stateless, dispatch_conversation)
    dispatch_stream = sync_either_dispatch(dispatch_stateless, dispatch_conversation)
    turn = sync(fetch_turn)
    cancel = sync_either(cancel_dispatch, cancel_turn)
    upvote = sync(upvote_conversation)
    downvote = sync(downvote_conversation)
    usage = sync(fetch_usage)
    export = sync(export_conversations)
    export_stream = sync_stream(export_conversations)

    @cached_property
    def message(self) -> MessageClient:
        """The messages of conversations, over the same connections."""
        return over(MessageClient, self._runner)

    @cached_property
    def session(self) -> SessionClient:
        """Tokens for browsers, over the same connections."""
        return over(SessionClient, self._runner)


class AsyncConversationClient(AsyncResource):
    """Conversations, and the exchanges with a bot: the methods of `ConversationClient`, to be awaited.

    Lists are awaited for a page or iterated over with `async for`; streams are entered with `async with`.
    """

    list = async_(list_conversations)
    list_stream = async_stream(list_conversations)
    fetch = async_(fetch_conversation)
    create = async_(create_conversation)
    update = async_(update_conversation)
    delete = async_(delete_conversation)
    complete = async_either(complete_stateless, complete_conversation)
    complete_stream = async_either_stream(complete_stateless, complete_conversation)
    send = async_(send_message)
    send_stream = async_stream(send_message)
    receive = async_(receive_message)
    receive_stream = async_stream(receive_message)
    run = async_either(run_stateless, run_conversation)
    run_stream = async_either_stream(run_stateless, run_conversation)
    dispatch = async_either(dispatch_stateless, dispatch_conversation)
    dispatch_stream = async_either_dispatch(dispatch_stateless, dispatch_conversation)
    turn = async_(fetch_turn)
    cancel = async_either(cancel_dispatch, cancel_turn)
    upvote = async_(upvote_conversation)
    downvote = async_(downvote_conversation)
    usage = async_(fetch_usage)
    export = async_(export_conversations)
    export_stream = async_stream(export_conversations)

    @cached_property
    def message(self) -> AsyncMessageClient:
        """The messages of conversations, over the same connections."""
        return over(AsyncMessageClient, self._runner)

    @cached_property
    def session(self) -> AsyncSessionClient:
        """Tokens for browsers, over the same connections."""
        return over(AsyncSessionClient, self._runner)
