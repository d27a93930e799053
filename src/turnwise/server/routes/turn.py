"""Operations that a bot replies to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import STREAMED
from turnwise.server.operation import Operation, unbuilt, write
from turnwise.server.services.fields import check_messages, check_text
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.reference import check_exchange, without_extensions
from turnwise.server.services.turn import Turn
from turnwise.types.conversation import (
    CompleteResult,
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationReceiveRequest,
    ReceiveResult,
    StatelessCompleteResult,
)
from turnwise.types.event import CompleteEvent, ReceiveEvent, StatelessCompleteEvent

if TYPE_CHECKING:
    from turnwise.server.services import Services

__all__ = ["OPERATIONS"]

CONVERSATION: Final = "/conversation/{conversationId}"


async def complete(
    services: Services, exchange: HttpExchange, body: ConversationCompleteRequest, keyed: KeyedRequest | None
) -> Turn:
    if exchange.in_session:
        body = without_extensions(body)
    check_exchange(body)
    if isinstance(body.text, str):
        check_text(body.text, "$.text")
    return services.turns.complete(exchange.account_id, exchange.conversation_id, body, keyed=keyed)


async def receive(
    services: Services, exchange: HttpExchange, body: ConversationReceiveRequest, keyed: KeyedRequest | None
) -> Turn:
    if exchange.in_session:
        body = without_extensions(body)
    check_exchange(body)
    return services.turns.receive(exchange.account_id, exchange.conversation_id, body, keyed=keyed)


async def complete_stateless(
    services: Services, exchange: HttpExchange, body: ConversationCompleteStatelessRequest, keyed: KeyedRequest | None
) -> Turn:
    check_exchange(body)
    check_messages(body.messages, "$.messages")
    return services.turns.complete_stateless(exchange.account_id, body, keyed=keyed)


OPERATIONS: Final[tuple[Operation, ...]] = (
    write(
        f"{CONVERSATION}/complete",
        "completeConversationMessage",
        "Store a message of the user's, if one is given, and make the bot's reply.",
        complete,
        body=ConversationCompleteRequest,
        result=CompleteResult,
        session=True,
        forms=STREAMED,
        events=CompleteEvent,
    ),
    write(
        f"{CONVERSATION}/receive",
        "receiveConversationMessage",
        "Make the bot's reply to what is stored.",
        receive,
        body=ConversationReceiveRequest,
        result=ReceiveResult,
        session=True,
        forms=STREAMED,
        events=ReceiveEvent,
    ),
    write(
        "/conversation/complete",
        "completeConversation",
        "Make a bot's reply to the given messages; nothing is stored.",
        complete_stateless,
        body=ConversationCompleteStatelessRequest,
        result=StatelessCompleteResult,
        forms=STREAMED,
        events=StatelessCompleteEvent,
    ),
    unbuilt(
        "POST",
        f"{CONVERSATION}/dispatch",
        "dispatchStatefulConversation",
        "Make the bot's reply in the background.",
        session=True,
    ),
    unbuilt("POST", "/conversation/dispatch", "dispatchConversation", "Make a bot's reply in the background."),
)
