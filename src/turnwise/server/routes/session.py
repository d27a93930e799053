from __future__ import annotations

from typing import TYPE_CHECKING, Final

from turnwise.server.exchange import HttpExchange
from turnwise.server.operation import Operation, write
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.types.session import Session, SessionCreateRequest

if TYPE_CHECKING:
    from turnwise.server.services import Services

__all__ = ["OPERATIONS"]


async def create(
    services: Services, exchange: HttpExchange, body: SessionCreateRequest, keyed: KeyedRequest | None
) -> Session:
    return await services.sessions.create(exchange.account_id, exchange.conversation_id, body, keyed=keyed)


OPERATIONS: Final[tuple[Operation, ...]] = (
    write(
        "/conversation/{conversationId}/session/create",
        "createConversationSession",
        "Make a token that opens this one conversation for a while, to be handed to a browser.",
        create,
        body=SessionCreateRequest,
        result=Session,
    ),
)
