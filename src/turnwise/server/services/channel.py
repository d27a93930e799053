"""Channels: what may be published, and who may listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from turnwise.server.channels.base import ChannelMessage, Channels
from turnwise.server.errors import BadRequest, ContentTooLarge, Forbidden
from turnwise.server.principal import Principal, SessionPrincipal
from turnwise.server.services.channel_access import ChannelAccess
from turnwise.server.services.fields import given
from turnwise.server.services.idempotency import KeyedRequest, done_once
from turnwise.server.storage.base import Once
from turnwise.types.channel import ChannelPublishRequest, ChannelPublishResult, ChannelSubscribeRequest

__all__ = ["ChannelService", "check_channel_id"]

SHORTEST_ID: Final = 16
LONGEST_ID: Final = 255
MESSAGE_BYTES: Final = 1_000_000

JSON: Final = msgspec.json.Encoder()


class ChannelService:
    """Publishes and subscribes, for those who may."""

    def __init__(self, channels: Channels, access: ChannelAccess) -> None:
        self._channels = channels
        self._access = access

    async def publish(
        self, principal: Principal, channel_id: str, request: ChannelPublishRequest, *, keyed: KeyedRequest | None
    ) -> ChannelPublishResult:
        """Send a message to everybody who listens, and keep it for those who come."""
        check_channel_id(channel_id, "channelId")
        data = JSON.encode(request.message)
        if len(data) > MESSAGE_BYTES:
            raise ContentTooLarge(
                f"$.message: {len(data):,} bytes of JSON; {MESSAGE_BYTES:,} is the most. "
                "Send less, or a link to where it lies."
            )
        account_id = principal.account_id
        if isinstance(principal, SessionPrincipal):
            await self._check_waits(principal, channel_id)

        async def write(once: Once | None) -> None:
            await self._channels.publish(account_id, channel_id, data, once=once)

        return await done_once(keyed, ChannelPublishResult(id=channel_id), write)

    async def subscribe(
        self, principal: Principal, channel_id: str, request: ChannelSubscribeRequest
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[ChannelMessage]]]:
        """Return the messages kept after `after`, or the last `historyLength` ones, and then those that come."""
        check_channel_id(channel_id, "channelId")
        if isinstance(principal, SessionPrincipal):
            await self._check_dispatched(principal, channel_id)
        return self._channels.subscribe(
            principal.account_id,
            channel_id,
            after=given(request.after),
            history=given(request.history_length) or 0,
        )

    async def _check_waits(self, principal: SessionPrincipal, channel_id: str) -> None:
        if not await self._access.may_publish(principal.account_id, principal.conversation_id, channel_id):
            raise Forbidden(
                "A session token publishes only on a channel that its conversation waits on, and none of its turns "
                "waits on this one now. Publish with a secret of the account."
            )

    async def _check_dispatched(self, principal: SessionPrincipal, channel_id: str) -> None:
        if not await self._access.may_subscribe(principal.account_id, principal.conversation_id, channel_id):
            raise Forbidden(
                "A session token subscribes only to channels of its own conversation's dispatches, and this is none. "
                "Subscribe with a secret of the account."
            )


def check_channel_id(channel_id: str, path: str) -> None:
    """Refuse an id that can be guessed, or that is none."""
    if not SHORTEST_ID <= len(channel_id) <= LONGEST_ID:
        raise BadRequest(
            f"{path}: expected {SHORTEST_ID} to {LONGEST_ID} characters, these are {len(channel_id)}. "
            "A random UUID is a good id for a channel."
        )
