from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from turnwise.server.answer import Listing
from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import LISTED, STREAMED
from turnwise.server.operation import Operation, Parameter, read, unbuilt, write
from turnwise.server.routes.listing import PAGE_PARAMETERS, alternatives, meta_filter, order_of, take_of
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.reference import check_exchange, without_extensions
from turnwise.server.storage.base import ConversationQuery
from turnwise.types.conversation import (
    Conversation,
    ConversationCreateRequest,
    ConversationCreateResult,
    ConversationId,
    ConversationSendRequest,
    ConversationUpdateRequest,
    EmptyRequest,
    SendResult,
)
from turnwise.types.event import ConversationItemEvent, SendEvent
from turnwise.types.message import DownvoteRequest, UpvoteRequest
from turnwise.types.usage import ConversationUsage

if TYPE_CHECKING:
    from turnwise.server.services import Services

__all__ = ["OPERATIONS", "SEND"]

CONVERSATION: Final = "/conversation/{conversationId}"
FILTERS: Final = (
    Parameter(name="meta", description="Values that `meta` must have, as `meta.KEY=VALUE`.", type="object"),
    Parameter(name="botId", description="Ids of bots, separated by commas: any of them."),
    Parameter(name="contactId", description="Ids of contacts, separated by commas: any of them."),
    Parameter(name="taskId", description="Ids of tasks, separated by commas: any of them."),
)
PERIOD: Final = (
    Parameter(name="from", description="Where the period begins; 90 days ago at the earliest.", format="date-time"),
    Parameter(name="to", description="Where the period ends; now unless given.", format="date-time"),
)


async def create(
    services: Services, exchange: HttpExchange, body: ConversationCreateRequest, keyed: KeyedRequest | None
) -> ConversationCreateResult:
    return await services.conversations.create(exchange.account_id, body, keyed=keyed, meter=exchange.meter)


async def fetch(services: Services, exchange: HttpExchange) -> Conversation:
    return await services.conversations.fetch(exchange.account_id, exchange.conversation_id)


async def list_(services: Services, exchange: HttpExchange) -> Listing:
    account_id = exchange.account_id
    query = exchange.query()
    order = order_of(query, "desc")
    meta = meta_filter(query)
    bot_ids, contact_ids, task_ids = (alternatives(query, name) for name in ("botId", "contactId", "taskId"))

    async def page(cursor: str | None, take: int) -> Sequence[Conversation]:
        wanted = ConversationQuery(
            cursor=cursor,
            order=order,
            take=take,
            meta=meta,
            bot_ids=bot_ids,
            contact_ids=contact_ids,
            task_ids=task_ids,
        )
        return await services.conversations.list(account_id, wanted)

    return Listing(page=page, cursor=query.get("cursor") or None, take=take_of(query))


async def update(
    services: Services, exchange: HttpExchange, body: ConversationUpdateRequest, keyed: KeyedRequest | None
) -> ConversationId:
    return await services.conversations.update(exchange.account_id, exchange.conversation_id, body, keyed=keyed)


async def delete(
    services: Services, exchange: HttpExchange, _body: EmptyRequest, keyed: KeyedRequest | None
) -> ConversationId:
    return await services.conversations.delete(exchange.account_id, exchange.conversation_id, keyed=keyed)


async def vote(
    services: Services, exchange: HttpExchange, body: UpvoteRequest | DownvoteRequest, keyed: KeyedRequest | None
) -> ConversationId:
    return await services.conversations.vote(exchange.account_id, exchange.conversation_id, body, keyed=keyed)


async def usage(services: Services, exchange: HttpExchange) -> ConversationUsage:
    query = exchange.query()
    return await services.conversations.usage(
        exchange.account_id, exchange.conversation_id, begin=query.get("from"), end=query.get("to")
    )


async def send(
    services: Services, exchange: HttpExchange, body: ConversationSendRequest, keyed: KeyedRequest | None
) -> SendResult:
    check_exchange(without_extensions(body) if exchange.in_session else body)
    return await services.messages.send(
        exchange.account_id, exchange.conversation_id, body, keyed=keyed, meter=exchange.meter
    )


SEND: Final = write(
    f"{CONVERSATION}/send",
    "sendConversationMessage",
    "Store a message of the user's; no reply is made.",
    send,
    body=ConversationSendRequest,
    result=SendResult,
    session=True,
    forms=STREAMED,
    events=SendEvent,
)

OPERATIONS: Final[tuple[Operation, ...]] = (
    read(
        f"{CONVERSATION}/fetch",
        "fetchConversation",
        "Fetch a conversation.",
        fetch,
        result=Conversation,
        session=True,
    ),
    write(
        "/conversation/create",
        "createConversation",
        "Create a conversation, with the messages it begins with.",
        create,
        body=ConversationCreateRequest,
        result=ConversationCreateResult,
    ),
    read(
        "/conversation/list",
        "listConversations",
        "List conversations, the newest first.",
        list_,
        result=Conversation,
        forms=LISTED,
        parameters=PAGE_PARAMETERS + FILTERS,
        events=ConversationItemEvent,
    ),
    read(
        "/conversation/export",
        "exportConversations",
        "Export conversations, the newest first.",
        list_,
        result=Conversation,
        forms=LISTED,
        parameters=PAGE_PARAMETERS + FILTERS,
        events=ConversationItemEvent,
    ),
    write(
        f"{CONVERSATION}/update",
        "updateConversation",
        "Change what is given; `meta` is merged key by key, null removes.",
        update,
        body=ConversationUpdateRequest,
        result=ConversationId,
    ),
    write(
        f"{CONVERSATION}/delete",
        "deleteConversation",
        "Delete a conversation with its messages; its session tokens end.",
        delete,
        body=EmptyRequest,
        result=ConversationId,
    ),
    write(
        f"{CONVERSATION}/upvote",
        "upvoteConversation",
        "Vote for a conversation; one vote a minute counts.",
        vote,
        body=UpvoteRequest,
        result=ConversationId,
    ),
    write(
        f"{CONVERSATION}/downvote",
        "downvoteConversation",
        "Vote against a conversation; one vote a minute counts.",
        vote,
        body=DownvoteRequest,
        result=ConversationId,
    ),
    read(
        f"{CONVERSATION}/usage/fetch",
        "fetchConversationUsage",
        "Sum the tokens and messages of a period.",
        usage,
        result=ConversationUsage,
        parameters=PERIOD,
    ),
    unbuilt("POST", "/conversation/compact", "compactConversationStateless", "Summarise messages."),
    unbuilt("POST", f"{CONVERSATION}/compact", "compactConversation", "Summarise a conversation's history."),
    unbuilt(
        "POST",
        f"{CONVERSATION}/contact/upsert",
        "upsertConversationContact",
        "Say who the user is.",
        session=True,
    ),
)
