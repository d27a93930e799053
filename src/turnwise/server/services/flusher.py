"""One task a process journals what all its turns make: one commit a tick.

Every text is written to a page of its own turn's. Where hundreds of turns speak at once those pages are most of what a
tick costs, so a tick takes the texts of a hundred or so of them, in turn; what goes to channels it takes of all.

Readers in other processes hear of it after the commit. So ticks are shorter where there may be such readers, as long as
the dispatches are few.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from turnwise.server.errors import Unavailable
from turnwise.server.services.turn import Turn
from turnwise.server.storage.journal import Flush, Journal, Place
from turnwise.server.storage.notices import Notices

__all__ = ["TEXTS_AT_ONCE", "Flusher"]

TICK: Final = 0.05
SHORT_TICK: Final = 0.02
"""With one dispatched turn, where other processes hear of what is stored."""
A_DISPATCH: Final = 0.0003
"""Seconds by which each dispatched turn prolongs a short tick, up to `TICK`."""
LOOK_SECONDS: Final = 0.1
TRIES: Final = 2
"""Commits for which a turn waits that is to write what comes after what they bring."""
TEXTS_AT_ONCE: Final = 100
"""Where more turns speak, a tick takes the texts of about so many."""

logger = logging.getLogger("turnwise.server")

Unjournaled = Callable[[], tuple[str, int]]
"""Returns the text that came since it was asked last, and the number of tokens so far."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A running turn."""

    number: int
    """Turns are counted as they come."""
    turn: Turn
    place: Place
    unjournaled: Unjournaled

    def take(self) -> Flush | None:
        """Return what is to be journaled."""
        text, tokens = self.unjournaled()
        published = self.turn.feed.take() if self.turn.feed is not None else None
        if published is None and not text:
            return None
        if published is not None:
            text = ""
        return Flush(place=self.place, text=text, tokens=tokens, published=published)

    def due(self, tick: int, rounds: int) -> bool:
        """Tell whether it is journaled in this tick, where texts are taken over so many `rounds`."""
        return rounds == 1 or self.turn.feed is not None or (tick + self.number) % rounds == 0


class Flusher:
    """Journals running turns every 50 ms, and hears from the journal which of them are lost or to be cancelled.

    Dispatches are journaled every 20 to 50 ms while `notices` are heard.
    """

    def __init__(self, journal: Journal, *, notices: Notices | None = None, tick: float = TICK) -> None:
        self._journal = journal
        self._notices = notices
        self._tick = tick
        self._watched: dict[str, Watched] = {}
        self._unsent: list[Flush] = []
        self._numbers = itertools.count()
        self._tried: asyncio.Future[Unavailable | None] | None = None
        """Where the outcome of the next commit, or of the one under way, is awaited."""
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watching(self, turn: Turn, place: Place | None, unjournaled: Unjournaled) -> Generator[None]:
        """Journal a turn as long as the context lasts; one without a place is not journaled."""
        if place is None:
            yield
            return
        watched = self._watched[place.turn_id] = Watched(next(self._numbers), turn, place, unjournaled)
        if self._task is None:
            self._task = asyncio.create_task(self._flush_forever())
        try:
            yield
        finally:
            if self._watched.get(place.turn_id) is watched:  # one that was adopted again is known under the same id
                del self._watched[place.turn_id]

    async def stored(self, place: Place | None) -> None:
        """Wait until what was taken of a turn is stored, so that what the turn writes now does not come before it.

        Raises `Unavailable` where that fails, and fails again.
        """
        failure: Unavailable | None = None
        for _ in range(TRIES):
            if self._task is None or not self._lacks(place):
                return
            if self._tried is None:
                self._tried = asyncio.get_running_loop().create_future()
            failure = await asyncio.shield(self._tried)
        if failure is not None and self._lacks(place):
            raise failure

    def _lacks(self, place: Place | None) -> bool:
        return any(flush.place == place for flush in self._unsent)

    async def close(self) -> None:
        """Stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self._tell(None)

    async def _flush_forever(self) -> None:
        loop = asyncio.get_running_loop()
        next_look = begun = loop.time()
        for tick in itertools.count():
            await asyncio.sleep(self._pause(loop.time() - begun))
            begun = loop.time()
            if not self._watched:
                self._task = None
                self._tell(None)
                return
            try:
                await self._flush(tick)
                if loop.time() >= next_look:
                    await self._look()
                    next_look = loop.time() + LOOK_SECONDS
            except Unavailable as error:
                logger.warning("journaling failed; it is tried again: %s", error)
                self._unsent = [replace(flush, again=True) for flush in self._unsent]
                self._tell(error)
            except Exception:
                logger.exception("journaling failed")
                self._unsent = []
                self._tell(None)

    def _pause(self, took: float) -> float:
        """Return how long to wait for the next tick; the last one took so many seconds."""
        if self._notices is None or not self._notices.listening:
            return self._tick
        dispatches = sum(watched.turn.feed is not None for watched in self._watched.values())
        short = min(SHORT_TICK + A_DISPATCH * dispatches, self._tick)
        return max(short - took, short / 2) if dispatches else self._tick

    async def _flush(self, tick: int) -> None:
        rounds = max(1, len(self._watched) // TEXTS_AT_ONCE)
        behind = {flush.place for flush in self._unsent}  # a feed is asked for more when it has what it gave
        due = [each for each in self._watched.values() if each.place not in behind and each.due(tick, rounds)]
        self._unsent += [flush for flush in (watched.take() for watched in due) if flush is not None]
        if self._unsent:
            lost, cancelled = await self._journal.flush(self._unsent)
            self._unsent = []
            self._tell(None)
            for place in lost:
                watched = self._watched.get(place.turn_id)
                if watched is not None and watched.place == place:  # another attempt has another place
                    watched.turn.lose()
            self._cancel(cancelled)

    def _tell(self, failure: Unavailable | None) -> None:
        """Tell turns that wait for it what became of a commit."""
        tried, self._tried = self._tried, None
        if tried is not None:
            tried.set_result(failure)

    async def _look(self) -> None:
        """Ask for turns that were cancelled through another process, however quiet they are."""
        for process_id in {watched.place.process_id for watched in self._watched.values()}:
            self._cancel(await self._journal.cancelled_turns(process_id))

    def _cancel(self, turn_ids: Sequence[str]) -> None:
        for turn_id in turn_ids:
            if turn_id in self._watched:
                self._watched[turn_id].turn.abort("cancelled", cancelled=True)
