"""Turns that run by themselves: how many at once, and how a stored one is run (again)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from turnwise.server.errors import BadRequest
from turnwise.server.services.exchange import Asked, TurnExchange
from turnwise.server.services.fields import given
from turnwise.server.services.stateful import Ground, Resumed, StatefulExchange
from turnwise.server.services.stateless import StatelessDispatch
from turnwise.server.storage.journal import TurnRow
from turnwise.types._base import Omit
from turnwise.types.conversation import (
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationDispatchRequest,
    ConversationDispatchStatelessRequest,
    ConversationReceiveRequest,
)

__all__ = ["DispatchRequest", "Slots", "check_dispatch_channel", "exchange_of"]

DispatchRequest = ConversationDispatchRequest | ConversationDispatchStatelessRequest

SHORTEST_CHANNEL: Final = 24
LONGEST_CHANNEL: Final = 255

Ask = Callable[
    [
        str,
        str | None,
        str,
        ConversationCompleteRequest | ConversationReceiveRequest | ConversationCompleteStatelessRequest,
    ],
    Asked,
]


class Slots:
    """Bounds how many dispatched turns run at once, in the process and of one account."""

    def __init__(self, total: int, per_account: int) -> None:
        self._total = asyncio.Semaphore(total)
        self._per_account = per_account
        self._accounts: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def one_of(self, account_id: str) -> AsyncGenerator[None]:
        """Wait for a slot of the account, then for one of the process."""
        slots, users = self._accounts.get(account_id, (asyncio.Semaphore(self._per_account), 0))
        self._accounts[account_id] = slots, users + 1
        try:
            async with slots, self._total:
                yield
        finally:
            slots, users = self._accounts[account_id]
            if users == 1:
                del self._accounts[account_id]
            else:
                self._accounts[account_id] = slots, users - 1


def check_dispatch_channel(channel_id: str | None | Omit) -> None:
    """Refuse a channel that is too easily another's: a dispatch may name one of 24 to 255 characters."""
    if isinstance(channel_id, str) and not SHORTEST_CHANNEL <= len(channel_id) <= LONGEST_CHANNEL:
        raise BadRequest(
            f"$.channelId: expected {SHORTEST_CHANNEL} to {LONGEST_CHANNEL} characters, such as a random UUID; "
            f"this one has {len(channel_id)}."
        )


def exchange_of(row: TurnRow, ground: Ground, ask: Ask) -> TurnExchange:
    """Return the exchange that a stored turn is."""
    if row.conversation_id is None:
        stateless = msgspec.json.decode(row.request, type=ConversationDispatchStatelessRequest)
        return StatelessDispatch(ground, ask(row.account_id, None, row.id, stateless), stateless, row)
    request = msgspec.json.decode(row.request, type=ConversationDispatchRequest)
    return StatefulExchange(
        ground,
        ask(row.account_id, row.conversation_id, row.id, request),
        conversation_id=row.conversation_id,
        text=given(request.text),
        mode=Resumed(row=row),
    )
