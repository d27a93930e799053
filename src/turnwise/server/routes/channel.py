from __future__ import annotations

from typing import TYPE_CHECKING, Final

from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import STREAMED
from turnwise.server.operation import Operation, write
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.subscription import Subscription
from turnwise.types.channel import ChannelPublishRequest, ChannelPublishResult, ChannelSubscribeRequest
from turnwise.types.event import ChannelEvent

if TYPE_CHECKING:
    from turnwise.server.services import Services

__all__ = ["OPERATIONS"]


async def publish(
    services: Services, exchange: HttpExchange, body: ChannelPublishRequest, keyed: KeyedRequest | None
) -> ChannelPublishResult:
    return await services.channels.publish(exchange.known_principal, exchange.path_id("channelId"), body, keyed=keyed)


async def subscribe(
    services: Services, exchange: HttpExchange, body: ChannelSubscribeRequest, _keyed: KeyedRequest | None
) -> Subscription:
    channel_id = exchange.path_id("channelId")
    return Subscription(await services.channels.subscribe(exchange.known_principal, channel_id, body))


OPERATIONS: Final[tuple[Operation, ...]] = (
    write(
        "/channel/{channelId}/publish",
        "publishChannelMessage",
        "Send a message to everybody who listens, and keep it for an hour for those who come.",
        publish,
        body=ChannelPublishRequest,
        result=ChannelPublishResult,
        session=True,
    ),
    write(
        "/channel/{channelId}/subscribe",
        "subscribeChannelMessages",
        "Listen to a channel: first messages it has kept, then those that come.",
        subscribe,
        body=ChannelSubscribeRequest,
        session=True,
        forms=STREAMED,
        events=ChannelEvent,
    ),
)
