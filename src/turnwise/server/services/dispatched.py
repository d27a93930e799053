"""Turns that run by themselves: queued, run when there is room, put back, handed over, and taken over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from turnwise.server.channels.base import Channels
from turnwise.server.errors import DomainError, InDoubt, Unavailable
from turnwise.server.services.dispatch import Ask, Slots, exchange_of
from turnwise.server.services.engine import BROKEN, Engine
from turnwise.server.services.lease import Lease
from turnwise.server.services.meter import Meter, Taken
from turnwise.server.services.metered import MeteredExchange
from turnwise.server.services.rates import Rates
from turnwise.server.services.running import RunningTurns
from turnwise.server.services.stateful import Ground, insist, withdraw
from turnwise.server.services.turn import Turn
from turnwise.server.storage.base import Once
from turnwise.server.storage.journal import Busy, JournaledStorage, NewTurn, Place, TurnLost, TurnRow

__all__ = ["DispatchedTurns"]

MOST_ATTEMPTS: Final = 20
"""With so many attempts behind it, a turn that fails for want of the database has failed."""

PUT_BACK_AFTER: Final = 0.5
"""Seconds after which another attempt is made at a dispatched turn whose attempt failed for want of the database."""

logger = logging.getLogger("turnwise.server")


class DispatchedTurns:
    """Runs dispatched turns, those of this process and those that others leave."""

    def __init__(
        self,
        storage: JournaledStorage,
        channels: Channels,
        *,
        ground: Ground,
        engine: Engine,
        running: RunningTurns,
        slots: Slots,
        rates: Rates | None,
        ask: Ask,
    ) -> None:
        self._storage = storage
        self._channels = channels
        self._ground = ground
        self._engine = engine
        self._running = running
        self._slots = slots
        self._rates = rates
        self._ask = ask
        self.stopping = False
        """Whether no more turns are begun."""
        self.lease = Lease(
            storage,
            new_id=ground.new_id,
            clock=ground.clock,
            lost=running.lose_all,
            adopt=self.adopt,
            room=lambda: slots.free,
        )
        """The process's, on all turns that it runs."""
        slots.freed = self.lease.look_if_left

    async def hand_over(self, *, running: bool) -> None:
        """Let others go on with what waits here, and with what is `running`, at once."""
        self._running.leave(running=running)
        try:
            await self._storage.hand_over(self.lease.process_id, running=running)
        except Unavailable:
            logger.warning("dispatched turns are handed over when the lease ends", exc_info=True)

    async def queue(self, new: NewTurn, once: Once | None, meter: Meter, taken: Taken) -> TurnRow | None:
        """Store a turn, and run it here or leave it to others.

        Where its channel has one already, give back what it took and return that one.
        """
        try:
            known = await self._storage.queue_turn(new, once=once)
        except InDoubt:
            self._run(_row_of(new), meter)  # where it was not stored, it ends like one that was lost
            raise
        except Exception:
            taken.give_back()
            raise
        if known is not None:
            taken.give_back()
        elif self._slots.free <= 0 and self.lease.others:
            await self._leave_to_whoever_has_room(new)
        else:
            self._run(_row_of(new), meter)
        return known

    async def _leave_to_whoever_has_room(self, new: NewTurn) -> None:
        """Queue a turn with those that nobody owns: whoever has room takes one, of each account in turn."""
        place = Place(turn_id=new.id, process_id=new.process_id, attempt=1)
        await insist(lambda: self._storage.put_back(place))
        self.lease.leave_something()

    def adopt(self, rows: Sequence[TurnRow]) -> None:
        """Go on with turns that another process began."""
        for row in rows:
            logger.warning("a turn goes on that another process began", extra={"fields": {"turn": row.id}})
            self._run(row, Meter(self._rates, row.account_id))

    def _run(self, row: TurnRow, meter: Meter) -> None:
        if self.stopping:  # it is left to whoever takes it when the lease ends
            return
        turn = Turn()
        work = self._make(turn, row, meter)
        self._running.run(row.id, turn, work, conversation_id=row.conversation_id, dispatched=True)

    async def _make(self, turn: Turn, row: TurnRow, meter: Meter) -> None:
        """Run a stored turn when there is room for it, and see to it that it ends."""
        place = Place(turn_id=row.id, process_id=row.process_id, attempt=row.attempt)
        try:
            with self._ground.flusher.watching(turn, place, _nothing):  # it may be cancelled while it waits
                await self._run_in_line(turn, row, meter)
        except TurnLost:
            turn.lost = True
        except asyncio.CancelledError:
            if not turn.lost:
                await self._withdraw(turn, row, place)
            raise
        except Unavailable as error:
            if row.attempt < MOST_ATTEMPTS:
                turn.lost = True
                await self._put_back(place)
            else:
                await self._withdraw(turn, row, place, error)
        except DomainError as error:
            await self._withdraw(turn, row, place, error)
        except Exception:
            await self._withdraw(turn, row, place, DomainError(BROKEN))
            raise

    async def _put_back(self, place: Place) -> None:
        """Let another attempt be made at a turn, here or elsewhere, now that the database was away for a moment."""
        logger.warning("a turn goes on when the database answers", extra={"fields": {"turn": place.turn_id}})
        await asyncio.sleep(PUT_BACK_AFTER)
        await insist(lambda: self._storage.put_back(place))
        self.lease.look()

    async def _run_in_line(self, turn: Turn, row: TurnRow, meter: Meter) -> None:
        """Run a stored turn once there is room, and no turn before it in its conversation.

        While it waits for another turn it takes no room from others. One that had begun when its process died waits for
        nothing: it holds the conversation still, and those that wait for that, some of them with the last room, wait
        for it.
        """
        if row.cancelled or (row.conversation_id is not None and row.state == "running"):
            with meter.resumed():
                await self._run_stored(turn, row, meter)
            return
        while True:
            turn.waits = row.state == "waiting"
            async with self._slots.one_of(row.account_id), meter.room():
                turn.waits = False
                try:
                    await self._run_stored(turn, row, meter)
                except Busy:
                    turn.waits = True
                else:
                    return
            await self._ground.order.first(row.id)

    async def _run_stored(self, turn: Turn, row: TurnRow, meter: Meter) -> None:
        exchange = exchange_of(row, self._ground, self._ask)
        if turn.feed is None:
            turn.feed = await self._channels.feed(row.account_id, row.channel_id or row.id)
        if row.cancelled:
            turn.abort_reason, turn.cancelled = "cancelled", True
            await exchange.withdraw(turn)
        else:
            await self._engine.run(turn, MeteredExchange(exchange, meter))

    async def _withdraw(self, turn: Turn, row: TurnRow, place: Place, failure: DomainError | None = None) -> None:
        """Settle a turn that did not come to its end."""
        if turn.done:
            return

        async def find_feed() -> None:
            turn.feed = await self._channels.feed(row.account_id, row.channel_id or row.id)

        if turn.feed is None:
            await insist(find_feed)
        await withdraw(self._ground, place, turn, failure, stateful=row.conversation_id is not None)


def _nothing() -> tuple[str, int]:
    return "", 0


def _row_of(new: NewTurn) -> TurnRow:
    return TurnRow(
        id=new.id,
        account_id=new.account_id,
        conversation_id=new.conversation_id,
        channel_id=new.channel_id,
        kind=new.kind,
        state="waiting",
        attempt=1,
        process_id=new.process_id,
        message_id=None,
        request=new.request,
        steps=None,
        text="",
        tokens=0,
        reason=None,
        created_at=new.now,
        started_at=None,
        ended_at=None,
    )
