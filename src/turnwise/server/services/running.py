"""The turns that run in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from turnwise.server.errors import DomainError
from turnwise.server.services.engine import BROKEN
from turnwise.server.services.turn import Turn
from turnwise.server.storage.base import AlreadyDone
from turnwise.server.storage.journal import TurnLost

__all__ = ["RunningTurns"]

logger = logging.getLogger("turnwise.server")


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A turn that runs, or waits to."""

    turn: Turn
    conversation_id: str | None
    dispatched: bool


class RunningTurns:
    """Knows the turns of this process, from their beginning to their end."""

    def __init__(self, *, ended: Callable[[], None] = lambda: None) -> None:
        """`ended` is called whenever a turn has."""
        self._running: dict[str, Running] = {}
        self._ended = ended

    def run(
        self,
        turn_id: str,
        turn: Turn,
        work: Coroutine[None, None, None],
        *,
        conversation_id: str | None,
        dispatched: bool = False,
    ) -> asyncio.Task[None]:
        """Let `work` make a turn; whatever becomes of it, the turn ends."""
        running = Running(turn, conversation_id, dispatched)
        self._running[turn_id] = running
        task = turn.start(_watched(turn, work))
        task.add_done_callback(lambda _: self._forget(turn_id, running))
        return task

    def find(self, turn_id: str) -> Turn | None:
        """Return a turn."""
        running = self._running.get(turn_id)
        return running.turn if running is not None else None

    async def wait(self, seconds: float) -> None:
        """Wait until those that run now have ended, for so long at most."""
        tasks = [running.turn.task for running in self._running.values() if running.turn.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def lose_all(self) -> None:
        """End all turns without a trace: they are another process's."""
        for running in self._all():
            running.turn.lose()

    def leave(self, *, running: bool) -> None:
        """End dispatched turns without a trace, those that wait or with `running` all, for another process."""
        for each in self._all():
            if each.dispatched and (running or each.turn.waits):
                each.turn.lose()

    def abort_all(self, reason: str) -> None:
        """End the turns that are not lost."""
        for running in self._all():
            running.turn.abort(reason)

    def abort_in(self, conversation_id: str, reason: str, failure: DomainError) -> None:
        """End the turns of a conversation, those that wait too; their readers are told `failure`."""
        for running in self._all():
            if running.conversation_id == conversation_id:
                running.turn.abort(reason, failure=failure)

    def _all(self) -> list[Running]:
        return list(self._running.values())

    def _forget(self, turn_id: str, running: Running) -> None:
        # A turn that was lost and adopted again is known under the same id.
        if self._running.get(turn_id) is running:
            del self._running[turn_id]
        self._ended()


async def _watched(turn: Turn, work: Coroutine[None, None, None]) -> None:
    """Do the work of a turn, and end the turn whatever becomes of it."""
    try:
        await work
    except asyncio.CancelledError:
        turn.finish(failure=turn.broken_off())
    except (TurnLost, AlreadyDone):
        turn.abort_reason = turn.abort_reason or "another server goes on with it, or has ended it"
        turn.finish(failure=turn.broken_off())
    except DomainError as error:
        turn.finish(failure=error)
    except Exception:
        logger.exception("a turn failed")
        turn.finish(failure=DomainError(BROKEN))
    finally:
        if not turn.done:
            turn.finish()
