from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from turnwise.server.answer import Listing
from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import LISTED
from turnwise.server.operation import Operation, read, unbuilt, write
from turnwise.server.routes.listing import PAGE_PARAMETERS, order_of, take_of
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.storage.base import MessageQuery
from turnwise.types.conversation import EmptyRequest
from turnwise.types.event import MessageItemEvent
from turnwise.types.message import (
    DownvoteRequest,
    Message,
    MessageCreateRequest,
    MessageCreateResult,
    MessageId,
    MessageUpdateRequest,
    UpvoteRequest,
)

if TYPE_CHECKING:
    from turnwise.server.services import Services

__all__ = ["OPERATIONS"]

MESSAGES: Final = "/conversation/{conversationId}/message"
MESSAGE: Final = f"{MESSAGES}/{{messageId}}"


async def create(
    services: Services, exchange: HttpExchange, body: MessageCreateRequest, keyed: KeyedRequest | None
) -> MessageCreateResult:
    return await services.messages.create(
        exchange.account_id, exchange.conversation_id, body, keyed=keyed, meter=exchange.meter
    )


async def fetch(services: Services, exchange: HttpExchange) -> Message:
    return await services.messages.fetch(exchange.account_id, exchange.conversation_id, exchange.message_id)


async def list_(services: Services, exchange: HttpExchange) -> Listing:
    account_id, conversation_id = exchange.account_id, exchange.conversation_id
    query = exchange.query()
    order = order_of(query, "asc")

    async def page(cursor: str | None, take: int) -> Sequence[Message]:
        wanted = MessageQuery(cursor=cursor, order=order, take=take)
        return await services.messages.list(account_id, conversation_id, wanted)

    return Listing(page=page, cursor=query.get("cursor") or None, take=take_of(query))


async def update(
    services: Services, exchange: HttpExchange, body: MessageUpdateRequest, keyed: KeyedRequest | None
) -> MessageId:
    return await services.messages.update(
        exchange.account_id, exchange.conversation_id, exchange.message_id, body, keyed=keyed
    )


async def delete(
    services: Services, exchange: HttpExchange, _body: EmptyRequest, keyed: KeyedRequest | None
) -> MessageId:
    return await services.messages.delete(
        exchange.account_id, exchange.conversation_id, exchange.message_id, keyed=keyed
    )


async def vote(
    services: Services, exchange: HttpExchange, body: UpvoteRequest | DownvoteRequest, keyed: KeyedRequest | None
) -> MessageId:
    return await services.messages.vote(
        exchange.account_id, exchange.conversation_id, exchange.message_id, body, keyed=keyed
    )


OPERATIONS: Final[tuple[Operation, ...]] = (
    read(
        f"{MESSAGES}/list",
        "listConversationMessages",
        "List a conversation's messages, the oldest first.",
        list_,
        result=Message,
        session=True,
        forms=LISTED,
        parameters=PAGE_PARAMETERS,
        events=MessageItemEvent,
    ),
    write(
        f"{MESSAGES}/create",
        "createConversationMessage",
        "Store a message of any type, its text unaltered.",
        create,
        body=MessageCreateRequest,
        result=MessageCreateResult,
        session=True,
    ),
    read(f"{MESSAGE}/fetch", "fetchConversationMessage", "Fetch a message.", fetch, result=Message),
    write(
        f"{MESSAGE}/update",
        "updateConversationMessage",
        "Change what is given; `meta` is merged key by key, null removes.",
        update,
        body=MessageUpdateRequest,
        result=MessageId,
    ),
    write(
        f"{MESSAGE}/delete",
        "deleteConversationMessage",
        "Delete a message.",
        delete,
        body=EmptyRequest,
        result=MessageId,
    ),
    write(
        f"{MESSAGE}/upvote",
        "upvoteConversationMessage",
        "Vote for a message; one vote a minute counts.",
        vote,
        body=UpvoteRequest,
        result=MessageId,
        session=True,
    ),
    write(
        f"{MESSAGE}/downvote",
        "downvoteConversationMessage",
        "Vote against a message; one vote a minute counts.",
        vote,
        body=DownvoteRequest,
        result=MessageId,
        session=True,
    ),
    unbuilt("POST", f"{MESSAGE}/synthesize", "synthesizeConversationMessage", "Speak a message."),
)
