"""Exchanges of which no conversation holds a message: the stateless forms of `complete` and `dispatch`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from turnwise.server.errors import Conflict, DomainError
from turnwise.server.services.exchange import (
    Asked,
    Begun,
    Ended,
    Replayed,
    Step,
    answered,
    decode_answer,
    results,
    sent,
)
from turnwise.server.services.progress import Progress
from turnwise.server.services.reply import Interruption
from turnwise.server.services.stateful import Foreground, Ground, insist, withdraw
from turnwise.server.services.turn import Turn
from turnwise.server.storage.base import Exchange, Storage
from turnwise.server.storage.journal import Busy, Place, TurnRow, TurnState
from turnwise.types.conversation import ConversationCompleteStatelessRequest
from turnwise.types.event import (
    Attempt,
    AttemptEvent,
    CompleteBeginEvent,
    Event,
    StatelessCompleteEvent,
)

__all__ = ["StatelessDispatch", "StatelessExchange"]

LOOK_AGAIN: Final = 0.1
"""Seconds after which a request that another process answers is looked at again."""


class StatelessExchange:
    """A stateless `complete`: nothing is stored but the answer to an idempotency key."""

    def __init__(
        self,
        ground: Ground,
        asked: Asked,
        request: ConversationCompleteStatelessRequest,
        *,
        storage: Storage,
        mode: Foreground,
    ) -> None:
        self.asked = asked
        self._ground = ground
        self._request = request
        self._storage = storage
        self._mode = mode

    @property
    def place(self) -> Place | None:
        """It has no row."""
        return None

    async def begin(self, turn: Turn) -> Begun | Replayed:  # noqa: ARG002 - the port's
        """Read the request, unless it was answered before; wait while another process answers it."""
        give_up = asyncio.get_running_loop().time() + self._mode.wait
        while True:
            with suppress(Busy):
                return await self._mode.admission.begin(self._begin)
            if asyncio.get_running_loop().time() > give_up:
                raise Conflict(
                    f"Another process is still answering this very request after {self._mode.wait:g} seconds. "
                    "Send it again later, with the same idempotency key."
                )
            await asyncio.sleep(LOOK_AGAIN)

    async def _begin(self) -> Begun | Replayed:
        keyed = self._mode.keyed
        if keyed is not None:
            done = await self._ground.journal.claim_once(self.asked.account_id, keyed.once(), self._claimant)
            if done is not None:
                keyed.check(done.body)
                if done.answer is None:
                    raise Busy
                return Replayed(decode_answer(done.answer, StatelessCompleteEvent))
        return _begun(self._request, _first_events(self._request, self._ground.clock()), Progress())

    async def withdraw(self, turn: Turn, failure: DomainError | None = None) -> None:  # noqa: ARG002 - the port's
        """Leave nothing."""
        await self._release()

    async def step(self, turn: Turn, step: Step, progress: Progress) -> None:
        """Keep finished messages in mind."""
        _keep(step, progress)
        turn.emit(step.events)

    async def end(self, turn: Turn, step: Step, ended: Ended, progress: Progress) -> Sequence[Event]:  # noqa: ARG002
        """Remember the answer under the request's key."""
        events = [*step.events, *_results(self._ground.clock(), ended)]
        once = answered(self._mode.keyed, [*ended.told, *events])
        if once is not None:
            await self._storage.remember(self.asked.account_id, once)
        turn.hold(events)
        return events

    async def interrupt(
        self,
        turn: Turn,
        step: Step,
        interruption: Interruption,  # noqa: ARG002 - the port's
        ended: Ended | None,
        progress: Progress,  # noqa: ARG002 - the port's
    ) -> Sequence[Event]:
        """Leave nothing."""
        await self._release()
        events = [*step.events, *(_results(self._ground.clock(), ended) if ended is not None else [])]
        turn.hold(events)
        return events

    @property
    def _claimant(self) -> Place:
        return Place(turn_id=self.asked.turn_id, process_id=self._mode.process_id, attempt=1)

    async def _release(self) -> None:
        """Let a repeat of the request be answered, by whichever process."""
        if (keyed := self._mode.keyed) is not None:
            journal, account_id = self._ground.journal, self.asked.account_id
            await insist(lambda: journal.release_once(account_id, keyed.once(), self._claimant))


class StatelessDispatch:
    """A stateless `dispatch`: its row holds how far it came."""

    def __init__(
        self, ground: Ground, asked: Asked, request: ConversationCompleteStatelessRequest, row: TurnRow
    ) -> None:
        self.asked = asked
        self._ground = ground
        self._request = request
        self._row = row

    @property
    def place(self) -> Place:
        """Where it writes."""
        return Place(turn_id=self._row.id, process_id=self._row.process_id, attempt=self._row.attempt)

    async def begin(self, turn: Turn) -> Begun:
        """Go on after the last stored step."""
        row, moment = self._row, self._ground.clock()
        events = _first_events(self._request, moment)
        if row.started_at is not None:
            events = [AttemptEvent(data=Attempt(attempt=row.attempt), created_at=moment)]
        await self._ground.journal.run_stateless(self.place, now=moment, published=turn.hold(events))
        turn.tell()
        progress = msgspec.json.decode(row.steps, type=Progress) if row.steps else Progress()
        return _begun(self._request, (), progress)

    async def withdraw(self, turn: Turn, failure: DomainError | None = None) -> None:
        """Commit that the turn was broken off while it began, or what its failure was, if it has not ended yet."""
        await withdraw(self._ground, self.place, turn, failure, stateful=False)

    async def step(self, turn: Turn, step: Step, progress: Progress) -> None:
        """Commit how far the turn is, its messages included."""
        _keep(step, progress)
        await self._ground.journal.store_step(
            self.place,
            Exchange(messages=()),
            steps=msgspec.json.encode(progress),
            tokens=progress.tokens,
            published=turn.hold(step.events),
        )
        turn.tell()

    async def end(self, turn: Turn, step: Step, ended: Ended, progress: Progress) -> Sequence[Event]:
        """Commit the turn's end with its last events."""
        events = [*step.events, *_results(self._ground.clock(), ended)]
        await self._settle(turn, events, "done", ended.end.reason, progress.tokens)
        return events

    async def interrupt(
        self, turn: Turn, step: Step, interruption: Interruption, ended: Ended | None, progress: Progress
    ) -> Sequence[Event]:
        """Commit that the turn was broken off."""
        events = [*step.events, *(_results(self._ground.clock(), ended) if ended is not None else [])]
        await self._settle(
            turn, events, "aborted" if interruption == "abort" else "failed", interruption, progress.tokens
        )
        return events

    async def _settle(self, turn: Turn, events: Sequence[Event], state: TurnState, reason: str, tokens: int) -> None:
        await self._ground.journal.settle_turn(
            self.place,
            Exchange(messages=()),
            state=state,
            reason=reason,
            now=self._ground.clock(),
            tokens=tokens,
            published=turn.hold(events),
        )


def _begun(request: ConversationCompleteStatelessRequest, events: Sequence[Event], progress: Progress) -> Begun:
    return Begun(
        model=request.model or None,
        backstory=request.backstory or None,
        history=[*request.messages, *progress.made],
        events=events,
        progress=progress,
    )


def _first_events(request: ConversationCompleteStatelessRequest, moment: int) -> list[Event]:
    events: list[Event] = [CompleteBeginEvent(created_at=moment)]
    last = request.messages[-1]
    if last.type == "user":
        events.insert(0, sent(moment, last.text, None))
    return events


def _keep(step: Step, progress: Progress) -> None:
    progress.made = [*progress.made, *step.messages]
    progress.pending = list(step.pending)


def _results(moment: int, ended: Ended) -> list[Event]:
    return results(moment, None, ended.text, ended.usage, ended.end)
