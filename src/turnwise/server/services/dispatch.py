"""Turns that run by themselves: how many at once, and how a stored one is run (again)."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
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
    """Bounds how many dispatched turns run at once, in the process and of one account; accounts are served in turn."""

    def __init__(self, total: int, per_account: int) -> None:
        self._per_account = per_account
        self.freed: Callable[[], None] | None = None
        """Called when there is room again, and nobody here who waits for it."""
        self._running: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self.free = total
        """How many more may run in the process."""

    @asynccontextmanager
    async def one_of(self, account_id: str) -> AsyncGenerator[None]:
        """Wait for a slot of the account and of the process."""
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(account_id, deque()).append(slot)
        self._serve()
        try:
            await slot
            yield
        finally:
            if slot.done() and not slot.cancelled():
                self._release(account_id)
            else:
                self._leave(account_id, slot)

    def _release(self, account_id: str) -> None:
        self.free += 1
        self._running[account_id] -= 1
        if not self._running[account_id]:
            del self._running[account_id]
        self._serve()
        if self.free and self.freed is not None:
            self.freed()

    def _leave(self, account_id: str, slot: asyncio.Future[None]) -> None:
        line = self._lines.get(account_id, deque())
        if slot in line:
            line.remove(slot)
            if not line:
                del self._lines[account_id]

    def _serve(self) -> None:
        """Hand free slots out, one to each account that waits, then the next one to each."""
        while self.free:
            account_id = next((name for name in self._lines if self._running[name] < self._per_account), None)
            if account_id is None:
                return
            line = self._lines.pop(account_id)
            slot = line.popleft()
            if line:  # it goes behind all the others
                self._lines[account_id] = line
            if slot.cancelled():  # by whoever is about to leave the line: many turns may be ended at once
                continue
            self.free -= 1
            self._running[account_id] += 1
            slot.set_result(None)


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
