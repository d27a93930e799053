"""Operations that a bot replies to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import STREAMED
from turnwise.server.operation import Operation, read, write
from turnwise.server.services.channel import check_channel_id
from turnwise.server.services.dispatch import check_dispatch_channel
from turnwise.server.services.fields import check_messages, check_text
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.reference import check_exchange, without_extensions
from turnwise.server.services.turn import Turn
from turnwise.types import turn as wire
from turnwise.types.conversation import (
    CompleteResult,
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationDispatchRequest,
    ConversationDispatchStatelessRequest,
    ConversationReceiveRequest,
    DispatchResult,
    EmptyRequest,
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
    return services.turns.complete(
        exchange.account_id, exchange.conversation_id, body, keyed=keyed, meter=exchange.meter
    )


async def receive(
    services: Services, exchange: HttpExchange, body: ConversationReceiveRequest, keyed: KeyedRequest | None
) -> Turn:
    if exchange.in_session:
        body = without_extensions(body)
    check_exchange(body)
    return services.turns.receive(
        exchange.account_id, exchange.conversation_id, body, keyed=keyed, meter=exchange.meter
    )


async def complete_stateless(
    services: Services, exchange: HttpExchange, body: ConversationCompleteStatelessRequest, keyed: KeyedRequest | None
) -> Turn:
    check_exchange(body)
    check_messages(body.messages, "$.messages")
    return services.turns.complete_stateless(exchange.account_id, body, keyed=keyed, meter=exchange.meter)


async def dispatch(
    services: Services, exchange: HttpExchange, body: ConversationDispatchRequest, keyed: KeyedRequest | None
) -> DispatchResult:
    if exchange.in_session:
        body = without_extensions(body)
    check_exchange(body)
    check_dispatch_channel(body.channel_id)
    if isinstance(body.text, str):
        check_text(body.text, "$.text")
    return await services.turns.dispatch(
        exchange.account_id, exchange.conversation_id, body, keyed=keyed, meter=exchange.meter
    )


async def dispatch_stateless(
    services: Services, exchange: HttpExchange, body: ConversationDispatchStatelessRequest, keyed: KeyedRequest | None
) -> DispatchResult:
    check_exchange(body)
    check_dispatch_channel(body.channel_id)
    check_messages(body.messages, "$.messages")
    return await services.turns.dispatch(exchange.account_id, None, body, keyed=keyed, meter=exchange.meter)


async def fetch(services: Services, exchange: HttpExchange) -> wire.Turn:
    return await services.turns.find(exchange.account_id, exchange.conversation_id)


async def cancel(
    services: Services, exchange: HttpExchange, _body: EmptyRequest, _keyed: KeyedRequest | None
) -> wire.TurnId:
    return await services.turns.cancel(exchange.account_id, conversation_id=exchange.conversation_id)


async def cancel_on_channel(
    services: Services, exchange: HttpExchange, _body: EmptyRequest, _keyed: KeyedRequest | None
) -> wire.TurnId:
    channel_id = exchange.path_id("channelId")
    check_channel_id(channel_id, "channelId")
    return await services.turns.cancel(exchange.account_id, channel_id=channel_id)


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
    write(
        f"{CONVERSATION}/dispatch",
        "dispatchStatefulConversation",
        "Make the bot's reply in the background; its events are published on a channel.",
        dispatch,
        body=ConversationDispatchRequest,
        result=DispatchResult,
        session=True,
    ),
    write(
        "/conversation/dispatch",
        "dispatchConversation",
        "Make a bot's reply in the background; its events are published on a channel.",
        dispatch_stateless,
        body=ConversationDispatchStatelessRequest,
        result=DispatchResult,
    ),
    read(
        f"{CONVERSATION}/turn/fetch",
        "fetchConversationTurn",
        "Fetch the newest turn of a conversation: where it is, and on which channel it goes on.",
        fetch,
        result=wire.Turn,
        session=True,
    ),
    write(
        f"{CONVERSATION}/turn/cancel",
        "cancelConversationTurn",
        "End the running turn of a conversation; what was said is kept.",
        cancel,
        body=EmptyRequest,
        result=wire.TurnId,
        session=True,
    ),
    write(
        "/channel/{channelId}/turn/cancel",
        "cancelChannelTurn",
        "End the turn that publishes on a channel; what was said is kept.",
        cancel_on_channel,
        body=EmptyRequest,
        result=wire.TurnId,
    ),
)
