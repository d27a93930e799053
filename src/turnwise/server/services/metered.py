"""Turns that are counted: let in when they begin, and their tokens as they are used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from turnwise.server.errors import DomainError
from turnwise.server.services.exchange import Begun, Ended, Replayed, Step, TurnExchange
from turnwise.server.services.meter import Meter, Taken
from turnwise.server.services.progress import Progress
from turnwise.server.services.reply import Interruption
from turnwise.server.services.turn import Turn
from turnwise.server.storage.journal import Place
from turnwise.types.event import Event

__all__ = ["Admission", "MeteredExchange"]


class Admission:
    """One turn's leave to run.

    An exchange asks for it once its conversation is free. So no turn takes room while it waits for another, which may
    be one that waits for room.
    """

    def __init__(self, take: Callable[[], Awaitable[Taken]]) -> None:
        self._take = take
        self._taken: Taken | None = None

    async def begin(self, begin: Callable[[], Awaitable[Begun | Replayed]]) -> Begun | Replayed:
        """Take a turn and begin it; give it back where nothing begins. Raises `LimitsReached`."""
        self._taken = taken = await self._take()
        try:
            begun = await begin()
        except Exception:
            taken.give_back()
            raise
        if isinstance(begun, Replayed):
            taken.give_back()
        return begun

    def end(self) -> None:
        """The turn runs no more."""
        if self._taken is not None:
            self._taken.end()


class MeteredExchange:
    """An exchange whose tokens are counted, also where what was said with them cannot be stored."""

    def __init__(self, exchange: TurnExchange, meter: Meter) -> None:
        self.asked = exchange.asked
        self._exchange = exchange
        self._meter = meter

    @property
    def place(self) -> Place | None:
        """Where it writes."""
        return self._exchange.place

    async def begin(self, turn: Turn) -> Begun | Replayed:
        """Begin."""
        return await self._exchange.begin(turn)

    async def withdraw(self, turn: Turn, failure: DomainError | None = None) -> None:
        """Store that the turn was broken off while it began, or what its failure was, if it has not ended yet."""
        await self._exchange.withdraw(turn, failure)

    async def step(self, turn: Turn, step: Step, progress: Progress) -> None:
        """Store finished messages, and count what they used."""
        self._meter.spent(step.used)
        await self._exchange.step(turn, step, progress)

    async def end(self, turn: Turn, step: Step, ended: Ended, progress: Progress) -> Sequence[Event]:
        """Store the end, and count what the last messages used."""
        self._meter.spent(step.used)
        return await self._exchange.end(turn, step, ended, progress)

    async def interrupt(
        self, turn: Turn, step: Step, interruption: Interruption, ended: Ended | None, progress: Progress
    ) -> Sequence[Event]:
        """Store that the turn was broken off."""
        self._meter.spent(step.used)
        return await self._exchange.interrupt(turn, step, interruption, ended, progress)
