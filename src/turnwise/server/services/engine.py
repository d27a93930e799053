"""The loop of a turn: the model is asked, the functions it calls are called, and so on until it ends.

Each finished message is stored before it is told of, together with how far the turn is (`Progress`), so that whoever
goes on with the turn asks for nothing twice that is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import cast

from turnwise.server.errors import DomainError, InDoubt, NotFound, Unavailable, Upstream
from turnwise.server.ids import Clock
from turnwise.server.models.base import Finish, FunctionCall, Model, ModelConfig, ModelError, Models, Prompt
from turnwise.server.services.activity import activity_message, stored_arguments
from turnwise.server.services.caller import Caller, CallOutcome, numbered
from turnwise.server.services.exchange import Begun, Ended, Replayed, Step, TurnExchange, failed
from turnwise.server.services.flusher import Flusher
from turnwise.server.services.history import build_prompt
from turnwise.server.services.pace import Pace
from turnwise.server.services.reply import Interruption, Reply
from turnwise.server.services.turn import Turn, TurnResult
from turnwise.server.storage.base import AlreadyDone, UsedTokens
from turnwise.server.storage.journal import TurnLost
from turnwise.types.conversation import CompleteEnd, CompleteReason
from turnwise.types.event import (
    Abort,
    AbortEvent,
    CompleteEndEvent,
    Event,
    MessageEvent,
    ResultEvent,
    UsageEvent,
)
from turnwise.types.message import TextMessage
from turnwise.types.usage import ModelUsage, Usage

__all__ = ["BROKEN", "Engine"]

BROKEN = "The server failed to make a reply, by a fault of its own. What was said is kept; try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Runs turns."""

    models: Models
    caller: Caller
    flusher: Flusher
    clock: Clock
    pace: Pace = field(default_factory=Pace)

    async def run(self, turn: Turn, exchange: TurnExchange) -> None:
        """Run a turn to its end. What goes wrong before its first event is raised.

        So is `Unavailable`, whenever it comes, where a dispatched turn can be gone on with: it has not ended.
        """
        try:
            begun = await exchange.begin(turn)
        except asyncio.CancelledError:
            if not turn.lost:
                await exchange.withdraw(turn)
            raise
        except InDoubt as error:
            # If it was begun after all, it must not hold its conversation. A dispatched turn is put back instead.
            if not turn.goes_on:
                turn.finish(failure=error)  # nobody waits for the database to say so
                await exchange.withdraw(turn, error)
            raise
        if isinstance(begun, Replayed):
            turn.hold(begun.events)
            _finish(turn, begun.events)
            return
        loop = Loop(self, turn, exchange, begun)
        try:
            with self.pace.running(), self.flusher.watching(turn, exchange.place, loop.unjournaled):
                await loop.run()
        except TurnLost:
            raise
        except Exception as error:
            if isinstance(error, Unavailable) and turn.goes_on:
                raise
            # A turn whose end could not be stored must not hold its conversation.
            await exchange.withdraw(turn, error if isinstance(error, DomainError) else None)
            raise


class Loop:
    """One turn while it runs."""

    _model: Model
    _config: ModelConfig

    def __init__(self, engine: Engine, turn: Turn, exchange: TurnExchange, begun: Begun) -> None:
        self._engine = engine
        self._turn = turn
        self._exchange = exchange
        self._begun = begun
        self._progress = begun.progress
        self._made: list[TextMessage] = []
        self._told: list[Event] = list(begun.events)
        self._reply = Reply(engine.clock)
        self._resolved = False

    def unjournaled(self) -> tuple[str, int]:
        """Return the text that came since this was asked last, and how many tokens the turn has made."""
        return self._reply.unjournaled(), self._progress.tokens + self._reply.tokens

    async def run(self) -> None:
        """Go on from where the turn is, to its end."""
        try:
            self._model, self._config = await self._engine.models.resolve(self._begun.model)
            self._resolved = True
            self._turn.emit(self._begun.events)
            reason = await self._steps()
            self._turn.settle()
            await self._end(reason)
        except asyncio.CancelledError:
            if self._turn.lost:
                raise
            await self._interrupt("abort", None)
        except ModelError as error:
            await self._interrupt("error", _upstream(error))
        except (TurnLost, AlreadyDone):
            raise
        except Unavailable as error:
            if self._resolved and self._turn.goes_on:
                raise
            await self._interrupt("error", error)
        except DomainError as error:
            await self._interrupt("error", error)
        except Exception:
            await self._interrupt("error", DomainError(BROKEN))
            raise

    async def _steps(self) -> CompleteReason:
        """Ask and call in turn; return why the turn ends. The last reply is not stored yet."""
        progress, limits = self._progress, self._exchange.asked.limits
        while True:
            if progress.pending:
                await self._answer()
            if progress.unanswered:
                return "activity"
            if progress.over or progress.iterations >= limits.iterations:
                return "iteration"
            force = self._forced()
            if progress.ended is not None and force is None:
                return "stop"
            self._reply = Reply(self._engine.clock)
            finish = await self._ask(force)
            cut = await self._go_on() if finish.reason == "length" else None
            finish = self._reply.finish or finish
            if self._reply.calls:
                await self._record_calls(finish)
            elif cut is not None:
                return cut
            elif not self._ends_with_calls():
                return "stop"
            else:
                await self._store(self._reply.messages(), finish)

    def _forced(self) -> str | None:
        """Return the function that must be called now, and note that it was asked for."""
        progress, functions = self._progress, self._exchange.asked.functions
        if progress.started < len(functions.start):
            progress.started += 1
            return functions.start[progress.started - 1]
        if progress.ended is not None and progress.ended < len(functions.end):
            progress.ended += 1
            return functions.end[progress.ended - 1]
        return None

    def _ends_with_calls(self) -> bool:
        """Note that the model ended by itself; tell whether functions are to be called now."""
        if self._progress.ended is None and self._progress.started >= len(self._exchange.asked.functions.start):
            self._progress.ended = 0
        return self._forces_left()

    def _forces_left(self) -> bool:
        progress, functions = self._progress, self._exchange.asked.functions
        return progress.started < len(functions.start) or (
            progress.ended is not None and progress.ended < len(functions.end)
        )

    # Asking

    async def _ask(self, force: str | None) -> Finish:
        self._progress.iterations += 1
        prompt = self._prompt(force)
        async with aclosing(self._model.stream(prompt)) as deltas:
            async for batch in deltas:
                self._turn.emit(self._reply.take(batch))
                if self._reply.finish is None:
                    await self._engine.pace.step()
        finish = self._reply.finish or Finish(reason="stop", input_tokens=0, output_tokens=0)
        self._progress.tokens += finish.input_tokens + finish.output_tokens
        return finish

    def _prompt(self, force: str | None) -> Prompt:
        asked = self._exchange.asked
        return build_prompt(
            self._begun.backstory,
            asked.backstory,
            [*self._begun.history, *self._made],
            config=self._config,
            context_window=self._model.context_window,
            functions=asked.functions.specs,
            force=force,
        )

    async def _go_on(self) -> CompleteReason | None:
        """Ask a model that ran out of tokens to go on with the same message, as often as the request allows.

        Returns why the message ends unfinished; `None` where the model ended it.
        """
        progress, limits = self._progress, self._exchange.asked.limits
        while not self._reply.calls:
            if not limits.continuations:
                return "length"
            if progress.continuations >= limits.continuations or progress.iterations >= limits.iterations:
                return "iteration"
            progress.continuations += 1
            earlier, self._made = self._made, [*self._made, TextMessage(type="bot", text=self._reply.text)]
            first = self._reply.finish
            finish = await self._ask(None)
            self._made = earlier
            self._reply.finish = finish.after(first)
            if finish.reason != "length":
                break
        return None

    # Calling

    async def _record_calls(self, finish: Finish) -> None:
        """Store what the model said and the calls it makes, as many as the limit leaves."""
        progress, limits = self._progress, self._exchange.asked.limits
        allowed = self._reply.calls[: max(0, limits.calls - progress.calls)]
        progress.over = len(allowed) < len(self._reply.calls)
        pending = numbered(allowed, self._exchange.asked.turn_id, progress.calls)
        requests = [activity_message("request", call.name, stored_arguments(call.arguments)) for call in pending]
        await self._store([*self._reply.messages(), *requests], finish, pending)

    async def _answer(self) -> None:
        """Call what is pending and store the answers, but for those that the caller of the API is to give."""
        asked, progress = self._exchange.asked, self._progress
        outcomes = await self._engine.caller.call(
            asked.account_id,
            progress.pending,
            asked.functions,
            self._turn.emit,
            conversation_id=asked.conversation_id,
            place=self._exchange.place,
        )
        progress.calls += len(outcomes)
        answers = [_response(outcome) for outcome in outcomes if not outcome.unanswered]
        progress.unanswered = len(answers) < len(outcomes)
        await self._store(answers, None)

    # Storing

    async def _store(
        self, messages: Sequence[TextMessage], finish: Finish | None, pending: Sequence[FunctionCall] = ()
    ) -> None:
        step = self._step(messages, finish, pending)
        cancelled = await _unbroken(self._step_in_order(step))
        self._made += messages
        self._note(messages)
        self._told += [*(self._reply.retold() if finish is not None else []), *step.events]
        if finish is not None:
            self._reply = Reply(self._engine.clock)
        if cancelled:
            raise asyncio.CancelledError

    async def _step_in_order(self, step: Step) -> None:
        await self._engine.flusher.stored(self._exchange.place)
        await self._exchange.step(self._turn, step, self._progress)

    def _step(
        self, messages: Sequence[TextMessage], finish: Finish | None, pending: Sequence[FunctionCall] = ()
    ) -> Step:
        """Return finished messages with the events that tell of them, and of what the model used."""
        events = self._reply.untold(messages) if finish is not None else _told(messages, self._engine.clock())
        if finish is None:
            return Step(messages=messages, events=events, pending=pending)
        self._reply.unjournaled()  # journaled after it was stored, it would be told twice of a process that dies
        moment = self._engine.clock()
        usage = ModelUsage(
            model=self._model.name, input_tokens_used=finish.input_tokens, output_tokens_used=finish.output_tokens
        )
        used = UsedTokens(
            model=self._model.name, input_tokens=finish.input_tokens, output_tokens=finish.output_tokens, at=moment
        )
        events.append(UsageEvent(data=usage, created_at=moment))
        return Step(messages=messages, used=(used,), events=events, pending=pending)

    def _note(self, messages: Sequence[TextMessage]) -> None:
        for message in messages:
            if message.type == "bot":
                self._progress.text = message.text

    # Ending

    async def _end(self, reason: CompleteReason) -> None:
        finish = self._reply.finish
        messages = self._reply.messages() if finish is not None else []
        step = self._step(messages, finish)
        self._note(messages)
        step = replace(step, events=[*step.events, CompleteEndEvent(created_at=self._engine.clock())])
        ended = self._ended(reason, self._reply.retold() if finish is not None else [])
        try:
            await self._engine.flusher.stored(self._exchange.place)
            events = await self._exchange.end(self._turn, step, ended, self._progress)
        except NotFound as gone:
            self._gone(gone)
        else:
            _finish(self._turn, events)

    async def _interrupt(self, interruption: Interruption, failure: DomainError | None) -> None:
        """Keep what was said. A turn that was cancelled has a result; any other one that broke off has a failure."""
        turn, moment = self._turn, self._engine.clock()
        turn.settle()
        messages = self._reply.messages(interruption)
        events = self._reply.untold(messages)
        ended: Ended | None = None
        self._note(messages)
        if interruption == "abort":
            events.append(AbortEvent(data=Abort(reason=turn.abort_reason), created_at=moment))
            failure = turn.broken_off()
        if turn.cancelled:
            events.append(CompleteEndEvent(created_at=moment))
            ended = self._ended("abort", [])
        elif turn.feed is not None and failure is not None:
            events.append(failed(moment, failure))
        step = Step(messages=messages, events=events)
        try:
            await self._engine.flusher.stored(self._exchange.place)
            told = await self._exchange.interrupt(turn, step, interruption, ended, self._progress)
        except NotFound as gone:
            self._gone(gone)
            return
        if ended is not None:
            _finish(turn, told)
            return
        turn.tell()
        turn.finish(failure=failure)

    def _gone(self, gone: NotFound) -> None:
        """The conversation was deleted: the turn has ended all the same, but nothing of it is kept."""
        if self._turn.feed is not None:
            self._turn.tell()
        self._turn.finish(failure=self._turn.abort_failure or gone)

    def _ended(self, reason: CompleteReason, retold: Sequence[Event]) -> Ended:
        return Ended(
            end=CompleteEnd(reason=reason),
            text=self._progress.text,
            usage=Usage(token=self._progress.tokens),
            told=[*self._told, *retold],
        )


async def _unbroken(work: Coroutine[None, None, None]) -> bool:
    """Do all of `work`; tell whether it was to be cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.result()
        return True
    return False


def _finish(turn: Turn, events: Sequence[Event]) -> None:
    turn.tell()
    last = events[-1] if events else None
    turn.finish(result=cast("ResultEvent[TurnResult]", last).data if isinstance(last, ResultEvent) else None)


def _upstream(error: ModelError) -> Upstream:
    return Upstream(error.message, status=error.status, code=error.code, retry_after=error.retry_after)


def _response(outcome: CallOutcome) -> TextMessage:
    return activity_message("response", outcome.call.name, outcome.arguments, outcome.result)


def _told(messages: Sequence[TextMessage], moment: int) -> list[Event]:
    return [MessageEvent(data=message, created_at=moment) for message in messages]
