"""Exchanges within a stored conversation: `complete`, `receive`, `dispatch`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from turnwise.server.errors import Conflict, DomainError, InDoubt, NotFound, Unavailable
from turnwise.server.ids import Clock, NewId
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
    withdrawn,
)
from turnwise.server.services.flusher import Flusher
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.metered import Admission
from turnwise.server.services.order import TurnOrder
from turnwise.server.services.progress import Progress
from turnwise.server.services.reply import Interruption
from turnwise.server.services.turn import Turn
from turnwise.server.storage.base import AlreadyDone, Exchange, Once, TurnStart
from turnwise.server.storage.journal import Busy, Journal, NewTurn, Place, Publication, TurnKind, TurnLost, TurnRow
from turnwise.types.conversation import ReceiveResult
from turnwise.types.event import (
    Attempt,
    AttemptEvent,
    CompleteBeginEvent,
    CompleteEvent,
    Event,
    ReceiveEvent,
    ResultEvent,
)
from turnwise.types.message import Message, TextMessage

__all__ = ["Foreground", "Ground", "Resumed", "StatefulExchange", "insist", "withdraw"]

TRY_AGAIN = (0.1, 1.0, 5.0, 10.0, 10.0)
"""Seconds between tries to settle a turn while the database does not answer."""

Commit = Callable[[Message | None, Once | None], Awaitable[TurnStart]]
"""Commits that a turn begins, with the user's message and the request's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What exchanges stand on."""

    journal: Journal
    order: TurnOrder
    flusher: Flusher
    new_id: NewId
    clock: Clock
    recent: int
    """How many stored messages a model is shown at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """A turn that somebody waits for: its row, if any, is made when it begins, or has to wait for another one."""

    kind: TurnKind
    process_id: str
    keyed: KeyedRequest | None
    wait: float
    """Seconds that it waits for the turn before it, or for another process to answer the same request."""
    admission: Admission


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A dispatched turn, whose row is there."""

    row: TurnRow


class StatefulExchange:
    """An exchange within a conversation, with a text or without."""

    def __init__(
        self, ground: Ground, asked: Asked, *, conversation_id: str, text: str | None, mode: Foreground | Resumed
    ) -> None:
        self.asked = asked
        self._ground = ground
        self._conversation_id = conversation_id
        self._text = text
        self._mode = mode

    @property
    def place(self) -> Place:
        """Where it writes."""
        match self._mode:
            case Foreground(process_id=process_id):
                return Place(turn_id=self.asked.turn_id, process_id=process_id, attempt=1)
            case Resumed(row=row):
                return Place(turn_id=row.id, process_id=row.process_id, attempt=row.attempt)

    async def begin(self, turn: Turn) -> Begun | Replayed:
        """Commit the user's message and the turn, or find them stored by an earlier try.

        A turn that somebody waits for waits itself for those of its conversation that came before. A dispatched one
        raises `Busy`: it is to give up its room meanwhile.
        """
        if isinstance(self._mode, Resumed):
            return await self._resume(turn, self._mode.row)
        try:
            return await self._start(self._mode, partial(self._start_turn, self._mode), in_line=False)
        except Busy:
            return await self._wait_and_start(turn, self._mode)

    async def withdraw(self, turn: Turn, failure: DomainError | None = None) -> None:
        """Commit that the turn was broken off while it began, or what its failure was, if it has not ended yet."""
        await withdraw(self._ground, self.place, turn, failure)

    async def step(self, turn: Turn, step: Step, progress: Progress) -> None:
        """Commit finished messages together with how far the turn is."""
        stored = self._stored(step.messages)
        _remember(progress, stored)
        progress.pending = list(step.pending)
        published = turn.hold(step.events)
        store = partial(
            self._ground.journal.store_step,
            self.place,
            Exchange(messages=stored, used=step.used),
            steps=msgspec.json.encode(progress),
            tokens=progress.tokens,
            published=published,
        )
        try:
            await store()
        except InDoubt:
            # A dispatched turn goes on after its last stored step, whichever that is.
            if turn.goes_on or not await insist(store):
                raise
        turn.tell()

    async def end(self, turn: Turn, step: Step, ended: Ended, progress: Progress) -> Sequence[Event]:
        """Commit the last messages, the turn's end, and the answer that a repeat of the request gets."""
        stored = self._stored(step.messages)
        _remember(progress, stored)
        events = [*step.events, *self._results(progress.message_id or self.asked.turn_id, ended)]
        keyed = self._mode.keyed if isinstance(self._mode, Foreground) else None
        await self._ground.journal.settle_turn(
            self.place,
            Exchange(messages=stored, used=step.used),
            state="done",
            reason=ended.end.reason,
            now=self._ground.clock(),
            tokens=progress.tokens,
            published=turn.hold(events),
            once=answered(keyed, [*ended.told, *events]),
        )
        return events

    async def interrupt(
        self, turn: Turn, step: Step, interruption: Interruption, ended: Ended | None, progress: Progress
    ) -> Sequence[Event]:
        """Commit the partial reply and that the turn was broken off; a repeat of the request makes a new one."""
        stored = self._stored(step.messages)
        _remember(progress, stored)
        results = self._results(progress.message_id or self.asked.turn_id, ended) if ended is not None else []
        events = [*step.events, *results]
        await self._ground.journal.settle_turn(
            self.place,
            Exchange(messages=stored, used=step.used),
            state="aborted" if interruption == "abort" else "failed",
            reason=interruption,
            now=self._ground.clock(),
            tokens=progress.tokens,
            published=turn.hold(events),
        )
        return events

    # Beginning

    @property
    def _receives(self) -> bool:
        return isinstance(self._mode, Foreground) and self._mode.kind == "receive"

    @property
    def _union(self) -> object:
        return ReceiveEvent if self._receives else CompleteEvent

    def _message(self) -> Message | None:
        if self._text is None:
            return None
        moment = self._ground.clock()
        return Message(id=self._ground.new_id(), type="user", text=self._text, created_at=moment, updated_at=moment)

    async def _wait_and_start(self, turn: Turn, mode: Foreground) -> Begun | Replayed:
        """Begin when the turns before it have ended; leave no trace where it does not come to that."""
        journal, begun = self._ground.journal, False
        await journal.queue_turn(self._new(mode))
        try:
            with self._ground.flusher.watching(turn, self.place, _nothing):  # it may be cancelled while it waits
                answer = await self._when_first(mode)
            begun = isinstance(answer, Begun)
            return answer
        except asyncio.CancelledError:
            begun = True  # whoever cancelled it settles it
            raise
        finally:
            if not begun:
                await insist(lambda: journal.leave_line(self.place))

    async def _when_first(self, mode: Foreground) -> Begun | Replayed:
        give_up = asyncio.get_running_loop().time() + mode.wait
        while True:
            try:
                async with asyncio.timeout_at(give_up):
                    await self._ground.order.first(self.asked.turn_id)
            except TimeoutError:
                raise Conflict(
                    f"Another turn of this conversation is still running after {mode.wait:g} seconds. "
                    "Wait until its reply is there, then send this request again."
                ) from None
            with suppress(Busy):
                return await self._start(mode, self._resume_turn)

    async def _start(self, mode: Foreground, commit: Commit, *, in_line: bool = True) -> Begun | Replayed:
        return await mode.admission.begin(partial(self._start_admitted, mode, commit, in_line=in_line))

    async def _start_admitted(self, mode: Foreground, commit: Commit, *, in_line: bool) -> Begun | Replayed:
        message, keyed = self._message(), mode.keyed
        message_id = message.id if message is not None else None
        try:
            start = await commit(message, keyed.once() if keyed is not None else None)
        except AlreadyDone as done:
            if keyed is None:
                raise
            keyed.check(done.body)
            if done.answer is not None:
                return Replayed(decode_answer(done.answer, self._union))
            if not in_line:
                # The earlier try may run still, and end before the next commit: who is first in line knows it does not.
                raise Busy from None
            start = await commit(None, None)
            history = _unanswered(start.history, done.message_id)
            return self._begun(start, history, self._first_events(done.message_id), Progress())
        return self._begun(start, start.history, self._first_events(message_id), Progress())

    def _new(self, mode: Foreground) -> NewTurn:
        return NewTurn(
            id=self.asked.turn_id,
            process_id=mode.process_id,
            account_id=self.asked.account_id,
            conversation_id=self._conversation_id,
            channel_id=None,
            kind=mode.kind,
            request=b"",
            now=self._ground.clock(),
        )

    async def _start_turn(self, mode: Foreground, message: Message | None, once: Once | None) -> TurnStart:
        new = self._new(mode)
        return await self._ground.journal.start_turn(new, message, recent=self._ground.recent, once=once)

    async def _resume_turn(
        self, message: Message | None, once: Once | None = None, published: Publication | None = None
    ) -> TurnStart:
        return await self._ground.journal.resume_turn(
            self.place,
            message,
            recent=self._ground.recent,
            now=self._ground.clock(),
            published=published,
            once=once,
        )

    async def _resume(self, turn: Turn, row: TurnRow) -> Begun:
        message = self._message() if row.message_id is None else None
        events = self._first_events(message.id if message is not None else None)
        if row.started_at is not None:
            events = [AttemptEvent(data=Attempt(attempt=row.attempt), created_at=self._ground.clock())]
        start = await self._resume_turn(message, published=turn.hold(events))
        turn.tell()
        progress = msgspec.json.decode(row.steps, type=Progress) if row.steps else Progress()
        return self._begun(start, start.history, (), progress)

    def _first_events(self, message_id: str | None) -> list[Event]:
        moment = self._ground.clock()
        events: list[Event] = [CompleteBeginEvent(created_at=moment)]
        if self._text is not None:
            events.insert(0, sent(moment, self._text, message_id))
        return events

    def _begun(
        self, start: TurnStart, history: Sequence[Message], events: Sequence[Event], progress: Progress
    ) -> Begun:
        if progress.message_id is None and history:
            progress.message_id = history[-1].id
        return Begun(
            model=start.conversation.model,
            backstory=start.conversation.backstory,
            history=history,
            events=events,
            progress=progress,
        )

    # Ending

    def _stored(self, messages: Sequence[TextMessage]) -> list[Message]:
        moment = self._ground.clock()
        return [
            Message(
                id=self._ground.new_id(),
                type=message.type,
                text=message.text,
                meta=message.meta,
                created_at=moment,
                updated_at=moment,
            )
            for message in messages
        ]

    def _results(self, message_id: str, ended: Ended) -> list[Event]:
        moment = self._ground.clock()
        if self._receives:
            received = ReceiveResult(id=message_id, text=ended.text, usage=ended.usage, end=ended.end)
            return [ResultEvent(data=received, created_at=moment)]
        return results(moment, message_id, ended.text, ended.usage, ended.end)


async def withdraw(
    ground: Ground, place: Place, turn: Turn, failure: DomainError | None = None, *, stateful: bool = True
) -> None:
    """Settle a turn that was broken off while it began, or failed for good, if its row is there and has not ended.

    While the database does not answer it is tried again for half a minute: then the lease is lost, too.
    """
    try:
        await insist(lambda: _settle(ground, place, turn, failure, stateful=stateful))
    except TurnLost:
        # What was to begin it may have been on its way still, and be committed by now. If it was not, it never began.
        with suppress(TurnLost):
            await insist(lambda: _settle(ground, place, turn, failure, stateful=stateful))


async def insist(work: Callable[[], Awaitable[None]]) -> bool:
    """Do a short write, and again while the database does not answer; tell whether it was done."""
    for delay in TRY_AGAIN:
        try:
            await work()
        except Unavailable:
            await asyncio.sleep(delay)
        else:
            return True
    return False


async def _settle(ground: Ground, place: Place, turn: Turn, failure: DomainError | None, *, stateful: bool) -> None:
    moment = ground.clock()
    told = withdrawn(moment, turn, failure, place.turn_id if stateful else None)
    # Of a conversation that was deleted the turn ends all the same.
    with suppress(NotFound):
        await ground.journal.settle_turn(
            place,
            Exchange(messages=()),
            state="aborted" if failure is None else "failed",
            reason="abort" if failure is None else "error",
            now=moment,
            published=turn.hold(told) if turn.feed is not None else None,
        )
    if turn.feed is not None:
        turn.tell()


def _nothing() -> tuple[str, int]:
    return "", 0


def _remember(progress: Progress, stored: Sequence[Message]) -> None:
    """Note which message the turn's result is to name: the last of the bot's, else the last of all."""
    for message in stored:
        if message.type == "bot" or not progress.spoke:
            progress.message_id = message.id
            progress.spoke = message.type == "bot"


def _unanswered(history: Sequence[Message], message_id: str | None) -> Sequence[Message]:
    """Leave out what an earlier, interrupted try to answer left at the history's end."""
    end = len(history)
    while end and history[end - 1].id != message_id and (history[end - 1].meta or {}).get("interrupted") is True:
        end -= 1
    return history[:end]
