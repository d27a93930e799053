"""Turns: started, known while they run, cancelled, and taken over from processes that died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from turnwise.server.channels.base import Channels
from turnwise.server.errors import BadRequest, NotFound, Unavailable
from turnwise.server.ids import Clock, NewId
from turnwise.server.models.base import Models
from turnwise.server.services.caller import FUNCTION_TIMEOUT, Caller
from turnwise.server.services.channel_access import WaitingChannels
from turnwise.server.services.dispatch import DispatchRequest, Slots
from turnwise.server.services.dispatched import DispatchedTurns
from turnwise.server.services.engine import Engine
from turnwise.server.services.exchange import Asked, TurnExchange
from turnwise.server.services.farewell import Farewell
from turnwise.server.services.fields import given
from turnwise.server.services.flusher import Flusher
from turnwise.server.services.functions import FunctionSet
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.limits import Ceilings
from turnwise.server.services.meter import UNMETERED, Meter
from turnwise.server.services.metered import Admission, MeteredExchange
from turnwise.server.services.order import TurnOrder
from turnwise.server.services.rates import Rates
from turnwise.server.services.running import RunningTurns
from turnwise.server.services.stateful import Foreground, Ground, StatefulExchange
from turnwise.server.services.stateless import StatelessExchange
from turnwise.server.services.turn import Turn
from turnwise.server.storage.base import AlreadyDone
from turnwise.server.storage.journal import (
    CANCELLED,
    LEFT,
    LINE_MOVED,
    JournaledStorage,
    NewTurn,
    TurnKind,
    TurnLost,
    TurnRow,
)
from turnwise.types import turn as wire
from turnwise.types.conversation import (
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationDispatchRequest,
    ConversationReceiveRequest,
    DispatchResult,
)
from turnwise.types.extension import Extensions

__all__ = ["TurnService", "TurnSettings"]

LAST_WORDS: Final = 4.0
"""Seconds beside the grace in which a process that stops tells the others what it leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings:
    """Bounds of turns."""

    wait: float = 60.0
    """Seconds that a turn waits for the one before it, in the same conversation; a dispatched one waits on."""
    recent: int = 1000
    """How many stored messages a model is shown at most."""
    ceilings: Ceilings = field(default_factory=Ceilings)
    """What no request can go beyond."""
    function_timeout: float = FUNCTION_TIMEOUT
    """Seconds that a called function has to answer on its channel."""
    dispatches: int = 1000
    """Dispatched turns that run at once in this process; further ones wait."""
    account_dispatches: int = 100
    """Likewise of one account."""


class TurnService:
    """Starts turns, and knows those that run."""

    def __init__(
        self,
        storage: JournaledStorage,
        channels: Channels,
        models: Models,
        *,
        waiting: WaitingChannels,
        rates: Rates | None = None,
        new_id: NewId,
        clock: Clock,
        settings: TurnSettings,
    ) -> None:
        self._storage = storage
        self._new_id = new_id
        self._clock = clock
        self._settings = settings
        self._order = TurnOrder(storage)
        self._flusher = Flusher(storage, notices=storage.notices)
        self._ground = Ground(
            journal=storage,
            order=self._order,
            flusher=self._flusher,
            new_id=new_id,
            clock=clock,
            recent=settings.recent,
        )
        caller = Caller(channels, clock=clock, timeout=settings.function_timeout, waiting=waiting)
        self._engine = Engine(models=models, caller=caller, flusher=self._flusher, clock=clock)
        self._running = RunningTurns(ended=self._order.look)
        self._dispatched = DispatchedTurns(
            storage,
            channels,
            ground=self._ground,
            engine=self._engine,
            running=self._running,
            slots=Slots(settings.dispatches, settings.account_dispatches),
            rates=rates,
            ask=self._asked,
        )
        self._lease = self._dispatched.lease
        self._farewell = Farewell(LAST_WORDS)
        self._keyed: dict[tuple[str, str, str], tuple[bytes, Turn]] = {}
        self._unsubscribe: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Begin to run turns, and to take over those of processes that died."""
        await self._lease.open()
        subscribe = self._storage.notices.subscribe
        order, lease = self._order, self._lease
        self._unsubscribe = [
            subscribe(LINE_MOVED, heard=lambda _: order.look(), missed=order.look),
            subscribe(LEFT, heard=lambda _: lease.look(), missed=lease.look),
            subscribe(CANCELLED, heard=self._cancelled, missed=lambda: None),  # the flusher looks for itself
        ]

    async def retire(self) -> None:
        """Leave to other processes what they can begin as well: dispatches that wait here, and turns of the dead."""
        if self._lease.held:
            self._lease.retire()
            await self._farewell.wait(self._dispatched.hand_over(running=False))

    async def shutdown(self, grace: float) -> None:
        """Begin no more turns, and let running ones end for `grace` seconds.

        Dispatched ones are handed over to other processes: those that wait at once, those that run after the grace.
        Others are broken off then; what they said is kept. While the database is away, all that takes four seconds
        beside the grace.
        """
        self._dispatched.stopping = True
        await self.retire()
        await self._running.wait(grace)
        if self._lease.held:
            await self._farewell.wait(self._dispatched.hand_over(running=True))
        self._running.abort_all("the server is shutting down")
        await self._farewell.wait(self._running.wait(self._farewell.left))
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        await self._order.close()
        await self._flusher.close()
        await self._farewell.wait(self._lease.close())

    # Turns that somebody waits for

    def complete(
        self,
        account_id: str,
        conversation_id: str,
        request: ConversationCompleteRequest,
        *,
        keyed: KeyedRequest | None = None,
        meter: Meter = UNMETERED,
    ) -> Turn:
        """Store the user's text, if there is one, and make the bot's reply."""
        text = trimmed(request.text) if isinstance(request.text, str) else None
        return self._foreground("complete", account_id, conversation_id, request, text=text, keyed=keyed, meter=meter)

    def receive(
        self,
        account_id: str,
        conversation_id: str,
        request: ConversationReceiveRequest,
        *,
        keyed: KeyedRequest | None = None,
        meter: Meter = UNMETERED,
    ) -> Turn:
        """Make the bot's reply to what is stored."""
        return self._foreground("receive", account_id, conversation_id, request, text=None, keyed=keyed, meter=meter)

    def complete_stateless(
        self,
        account_id: str,
        request: ConversationCompleteStatelessRequest,
        *,
        keyed: KeyedRequest | None = None,
        meter: Meter = UNMETERED,
    ) -> Turn:
        """Make a reply to the given messages and store nothing."""
        check_messages_given(request)
        asked = self._asked(account_id, None, self._new_id(), request)
        admission = _admission(meter, keyed, messages=0)
        mode = self._mode("complete", keyed, admission)
        exchange = StatelessExchange(self._ground, asked, request, storage=self._storage, mode=mode)
        return self._start(MeteredExchange(exchange, meter), keyed, admission)

    # Turns in the background

    async def dispatch(
        self,
        account_id: str,
        conversation_id: str | None,
        request: DispatchRequest,
        *,
        keyed: KeyedRequest | None = None,
        meter: Meter = UNMETERED,
    ) -> DispatchResult:
        """Store a turn that runs by itself and tells its events on a channel; the same channel again starts nothing."""
        self._check_serving()
        request = _checked(request)
        stored = int(isinstance(request, ConversationDispatchRequest) and isinstance(request.text, str))
        result = DispatchResult(channel_id=given(request.channel_id) or self._new_id())
        new = NewTurn(
            id=self._new_id(),
            process_id=self._lease.process_id,
            account_id=account_id,
            conversation_id=conversation_id,
            channel_id=result.channel_id,
            kind="dispatch",
            request=msgspec.json.encode(request),
            now=self._clock(),
        )
        once = keyed.once(msgspec.json.encode(result)) if keyed is not None else None
        taken = await meter.dispatch(once, messages=stored)
        try:
            # Whoever asked may go meanwhile: what is stored is run.
            known = await asyncio.shield(self._dispatched.queue(new, once, meter, taken))
        except TurnLost:
            raise Unavailable(
                "The server was stopped for too long and starts anew. Try again.", retry_after=1
            ) from None
        except AlreadyDone as done:
            if keyed is None or done.answer is None:
                raise
            keyed.check(done.body)
            return msgspec.json.decode(done.answer, type=DispatchResult)
        return result if known is None else DispatchResult(channel_id=result.channel_id, ended_at=known.ended_at)

    async def find(self, account_id: str, conversation_id: str) -> wire.Turn:
        """Return the newest turn of a conversation."""
        row = await self._storage.find_turn(account_id, conversation_id=conversation_id)
        if row is None:
            raise NotFound("This conversation had no turn yet, or none in the last day. `complete` makes one.")
        return _told(row)

    async def cancel(
        self, account_id: str, *, conversation_id: str | None = None, channel_id: str | None = None
    ) -> wire.TurnId:
        """End the running turn of a conversation, or of a channel; what was said is kept."""
        row = await self._storage.cancel_turn(account_id, conversation_id=conversation_id, channel_id=channel_id)
        if row is None:
            raise NotFound("No turn is running here: it has ended, or there never was one.")
        turn = self._running.find(row.id)
        if turn is not None:
            turn.abort("cancelled", cancelled=True)
        else:
            self._lease.look()  # nobody may run it
        return wire.TurnId(id=row.id)

    def _cancelled(self, notice: bytes) -> None:
        turn = self._running.find(msgspec.json.decode(notice, type=str))
        if turn is not None:
            turn.abort("cancelled", cancelled=True)

    def conversation_deleted(self, conversation_id: str) -> None:
        """End what runs or waits here for a conversation that was deleted. Other processes hear of it by themselves."""
        failure = NotFound("The conversation was deleted while the bot replied; nothing of the reply is kept.")
        self._running.abort_in(conversation_id, "the conversation was deleted", failure)

    # Starting

    def _check_serving(self) -> None:
        if self._dispatched.stopping:
            raise Unavailable("The server is stopping. Send this request again: another one takes it.", retry_after=1.0)

    def _foreground(
        self,
        kind: TurnKind,
        account_id: str,
        conversation_id: str,
        request: ConversationCompleteRequest | ConversationReceiveRequest,
        *,
        text: str | None,
        keyed: KeyedRequest | None,
        meter: Meter,
    ) -> Turn:
        admission = _admission(meter, keyed, messages=int(text is not None))
        exchange = StatefulExchange(
            self._ground,
            self._asked(account_id, conversation_id, self._new_id(), request),
            conversation_id=conversation_id,
            text=text,
            mode=self._mode(kind, keyed, admission),
        )
        return self._start(MeteredExchange(exchange, meter), keyed, admission)

    def _mode(self, kind: TurnKind, keyed: KeyedRequest | None, admission: Admission) -> Foreground:
        process_id, wait = self._lease.process_id, self._settings.wait
        return Foreground(kind=kind, process_id=process_id, keyed=keyed, wait=wait, admission=admission)

    def _asked(
        self,
        account_id: str,
        conversation_id: str | None,
        turn_id: str,
        request: ConversationCompleteRequest | ConversationReceiveRequest | ConversationCompleteStatelessRequest,
    ) -> Asked:
        extensions = request.extensions
        return Asked(
            account_id=account_id,
            conversation_id=conversation_id,
            turn_id=turn_id,
            backstory=given(extensions.backstory) or None if isinstance(extensions, Extensions) else None,
            functions=FunctionSet(request.functions),
            limits=self._settings.ceilings.within(request.limits),
        )

    def _start(self, exchange: TurnExchange, keyed: KeyedRequest | None, admission: Admission) -> Turn:
        name = (exchange.asked.account_id, keyed.path, keyed.key) if keyed is not None else None
        if name is not None and keyed is not None and name in self._keyed:
            body, turn = self._keyed[name]
            keyed.check(body)
            if turn.abort_reason is None:
                return turn
        self._check_serving()
        turn = Turn()
        asked = exchange.asked
        work = self._engine.run(turn, exchange)
        task = self._running.run(asked.turn_id, turn, work, conversation_id=asked.conversation_id)
        task.add_done_callback(lambda _: admission.end())
        if name is not None and keyed is not None:
            self._keyed[name] = keyed.body, turn
            task.add_done_callback(lambda _: self._forget(name, turn))
        return turn

    def _forget(self, name: tuple[str, str, str], turn: Turn) -> None:
        if self._keyed.get(name, (b"", None))[1] is turn:
            del self._keyed[name]


def _checked(request: DispatchRequest) -> DispatchRequest:
    """Refuse a request that gives the bot nothing to answer; trim a user's text."""
    if isinstance(request, ConversationCompleteStatelessRequest):
        check_messages_given(request)
    elif isinstance(request.text, str):
        return msgspec.structs.replace(request, text=trimmed(request.text))
    return request


def trimmed(text: str) -> str:
    """Return a user's text without the white space around it; `BadRequest` where nothing is left."""
    stripped = text.strip()
    if not stripped:
        raise BadRequest("text: at least 1 character that is not white space is needed.")
    return stripped


def _admission(meter: Meter, keyed: KeyedRequest | None, *, messages: int) -> Admission:
    once = keyed.once() if keyed is not None else None
    return Admission(lambda: meter.turn(once, messages=messages))


def check_messages_given(request: ConversationCompleteStatelessRequest) -> None:
    """Refuse a stateless request without a message."""
    if not request.messages:
        raise BadRequest("messages: at least one message is needed to complete from.")


def _told(row: TurnRow) -> wire.Turn:
    return wire.Turn(
        id=row.id,
        state=row.state,
        attempt=row.attempt,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        tokens=row.tokens,
        channel_id=row.channel_id,
        reason=row.reason,
    )
