"""Turns: a user's message is stored, a model is asked, its reply is told while it grows, and stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from turnwise.server.errors import BadRequest, DomainError, Unavailable, Upstream
from turnwise.server.ids import Clock, NewId
from turnwise.server.models.base import Finish, Model, ModelError, Models, Prompt
from turnwise.server.services.exchange import (
    Begun,
    Ended,
    Replayed,
    StatefulExchange,
    StatelessExchange,
    TurnExchange,
)
from turnwise.server.services.history import build_prompt
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.order import TurnOrder
from turnwise.server.services.reply import Interruption, Reply
from turnwise.server.services.turn import Turn, TurnResult
from turnwise.server.storage.base import Storage, UsedTokens
from turnwise.types.conversation import (
    CompleteEnd,
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationReceiveRequest,
)
from turnwise.types.event import Abort, AbortEvent, CompleteEndEvent, Event, ResultEvent, UsageEvent
from turnwise.types.extension import Extensions
from turnwise.types.usage import ModelUsage, Usage

__all__ = ["TurnService", "TurnSettings"]

logger = logging.getLogger("turnwise.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings:
    """Bounds of turns."""

    wait: float = 60.0
    """Seconds that a turn waits for the one before it, in the same conversation."""
    recent: int = 1000
    """How many stored messages a model is shown at most."""


class TurnService:
    """Starts turns, and knows those that run."""

    def __init__(
        self,
        storage: Storage,
        models: Models,
        *,
        new_id: NewId,
        clock: Clock,
        settings: TurnSettings,
    ) -> None:
        self._storage = storage
        self._models = models
        self._new_id = new_id
        self._clock = clock
        self._settings = settings
        self._order = TurnOrder()
        self._running: set[Turn] = set()
        self._keyed: dict[tuple[str, str, str], tuple[bytes, Turn]] = {}

    def complete(
        self,
        account_id: str,
        conversation_id: str,
        request: ConversationCompleteRequest,
        *,
        keyed: KeyedRequest | None = None,
    ) -> Turn:
        """Store the user's text, if there is one, and make the bot's reply."""
        text = trimmed(request.text) if isinstance(request.text, str) else None
        return self._stateful(account_id, conversation_id, text, request.extensions, keyed, receives=False)

    def receive(
        self,
        account_id: str,
        conversation_id: str,
        request: ConversationReceiveRequest,
        *,
        keyed: KeyedRequest | None = None,
    ) -> Turn:
        """Make the bot's reply to what is stored."""
        return self._stateful(account_id, conversation_id, None, request.extensions, keyed, receives=True)

    def complete_stateless(
        self,
        account_id: str,
        request: ConversationCompleteStatelessRequest,
        *,
        keyed: KeyedRequest | None = None,
    ) -> Turn:
        """Make a reply to the given messages and store nothing."""
        if not request.messages:
            message = "messages: at least one message is needed to complete from."
            raise BadRequest(message)
        exchange = StatelessExchange(
            self._storage,
            request,
            account_id=account_id,
            backstory=_backstory(request.extensions),
            keyed=keyed,
            clock=self._clock,
        )
        return self._start(account_id, exchange, keyed)

    async def shutdown(self, grace: float) -> None:
        """Let running turns end for `grace` seconds, then abort those that have not; what they said is kept."""
        for reason, wait in ((None, grace), ("the server is shutting down", 5.0)):
            tasks = [turn.task for turn in self._running if turn.task is not None]
            if reason is not None:
                for turn in list(self._running):
                    turn.abort(reason)
            if tasks:
                await asyncio.wait(tasks, timeout=wait)

    def _stateful(
        self,
        account_id: str,
        conversation_id: str,
        text: str | None,
        extensions: object,
        keyed: KeyedRequest | None,
        *,
        receives: bool,
    ) -> Turn:
        exchange = StatefulExchange(
            self._storage,
            self._order,
            account_id=account_id,
            conversation_id=conversation_id,
            text=text,
            receives=receives,
            backstory=_backstory(extensions),
            keyed=keyed,
            new_id=self._new_id,
            clock=self._clock,
            wait=self._settings.wait,
            recent=self._settings.recent,
        )
        return self._start(account_id, exchange, keyed)

    def _start(self, account_id: str, exchange: TurnExchange, keyed: KeyedRequest | None) -> Turn:
        if keyed is None:
            turn = Turn()
            self._running.add(turn)
            turn.start(self._run(turn, exchange)).add_done_callback(lambda _: self._running.discard(turn))
            return turn
        name = (account_id, keyed.path, keyed.key)
        if name in self._keyed:
            body, turn = self._keyed[name]
            keyed.check(body)
            if turn.abort_reason is None:
                return turn
        turn = self._start(account_id, exchange, None)
        self._keyed[name] = keyed.body, turn
        if turn.task is not None:
            turn.task.add_done_callback(lambda _: self._forget(name, turn))
        return turn

    def _forget(self, name: tuple[str, str, str], turn: Turn) -> None:
        if self._keyed.get(name, (b"", None))[1] is turn:
            del self._keyed[name]

    async def _run(self, turn: Turn, exchange: TurnExchange) -> None:
        try:
            async with exchange.place():
                begun = await exchange.begin()
                if isinstance(begun, Replayed):
                    _tell(turn, begun.events)
                else:
                    await self._answer(turn, exchange, begun)
        except asyncio.CancelledError:
            turn.finish(failure=_aborted(turn))
        except DomainError as error:
            turn.finish(failure=error)
        except Exception:
            logger.exception("a turn failed")
            turn.finish(failure=DomainError("The server failed to make a reply. What was said is kept; try again."))

    async def _answer(self, turn: Turn, exchange: TurnExchange, begun: Begun) -> None:
        model, config = await self._models.resolve(begun.model)
        prompt = build_prompt(
            begun.backstory, exchange.backstory, begun.history, config=config, context_window=model.context_window
        )
        turn.emit(begun.events)
        reply = Reply(self._clock)
        try:
            await self._ask(turn, model, prompt, reply)
        except asyncio.CancelledError:
            await self._interrupt(turn, exchange, reply, "abort")
            turn.finish(failure=_aborted(turn))
        except ModelError as error:
            await self._interrupt(turn, exchange, reply, "error")
            failure = Upstream(error.message, status=error.status, code=error.code, retry_after=error.retry_after)
            turn.finish(failure=failure)
        else:
            turn.settle()
            _tell(turn, await exchange.end(begun, reply, self._ended(model, reply)))

    async def _ask(self, turn: Turn, model: Model, prompt: Prompt, reply: Reply) -> None:
        async with aclosing(model.stream(prompt)) as deltas:
            async for batch in deltas:
                events = reply.take(batch)
                if events:
                    turn.emit(events)

    async def _interrupt(self, turn: Turn, exchange: TurnExchange, reply: Reply, interruption: Interruption) -> None:
        turn.settle()
        events = reply.last_events(interruption)
        if interruption == "abort":
            events.append(AbortEvent(data=Abort(reason=turn.abort_reason), created_at=self._clock()))
        await exchange.interrupt(reply, interruption, ())
        turn.emit(events)

    def _ended(self, model: Model, reply: Reply) -> Ended:
        finish = reply.finish or Finish(reason="stop", input_tokens=0, output_tokens=0)
        moment = self._clock()
        usage = ModelUsage(
            model=model.name, input_tokens_used=finish.input_tokens, output_tokens_used=finish.output_tokens
        )
        used = UsedTokens(
            model=model.name, input_tokens=finish.input_tokens, output_tokens=finish.output_tokens, at=moment
        )
        return Ended(
            end=CompleteEnd(reason=finish.reason),
            usage=Usage(token=finish.input_tokens + finish.output_tokens),
            used=(used,),
            events=[
                *reply.last_events(),
                UsageEvent(data=usage, created_at=moment),
                CompleteEndEvent(created_at=moment),
            ],
        )


def trimmed(text: str) -> str:
    """Return a user's text without the white space around it; `BadRequest` where nothing is left."""
    stripped = text.strip()
    if not stripped:
        message = "text: at least 1 character that is not white space is needed."
        raise BadRequest(message)
    return stripped


def _backstory(extensions: object) -> str | None:
    return extensions.backstory or None if isinstance(extensions, Extensions) else None


def _tell(turn: Turn, events: Sequence[Event]) -> None:
    turn.emit(events)
    last = events[-1] if events else None
    turn.finish(result=cast("ResultEvent[TurnResult]", last).data if isinstance(last, ResultEvent) else None)


def _aborted(turn: Turn) -> Unavailable:
    reason = turn.abort_reason or "its task was cancelled"
    message = f"The reply was broken off: {reason}. What was said until then is kept; send the request again."
    return Unavailable(message, retry_after=1.0)
