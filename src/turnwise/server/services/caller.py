"""Executes the functions that a model calls: at once, or by waiting for what somebody publishes on a channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, cast

from turnwise.server.channels.base import Lagging
from turnwise.server.errors import Unavailable
from turnwise.server.ids import Clock
from turnwise.server.models.base import FunctionCall
from turnwise.server.services.activity import stored_arguments
from turnwise.server.services.arguments import ArgumentsError
from turnwise.server.services.channel_access import WaitingChannels
from turnwise.server.services.functions import FunctionSet
from turnwise.server.storage.journal import Place
from turnwise.types._base import OMIT, Omit
from turnwise.types.event import (
    Event,
    WaitForChannelMessage,
    WaitForChannelMessageBeginEvent,
    WaitForChannelMessageEndEvent,
)
from turnwise.types.function import FunctionResult

__all__ = ["FUNCTION_TIMEOUT", "CallOutcome", "Caller", "Emit", "Waits", "numbered"]

FUNCTION_TIMEOUT: Final = 120.0

Emit = Callable[[Sequence[Event]], None]


class Waits(Protocol):
    """What is published on channels, as far as waiting for a result needs it."""

    def wait_on(self, account_id: str, channel_id: str, /) -> AbstractAsyncContextManager[AsyncIterator[object]]:
        """Return the messages of a channel: all that are published after the context was entered, and no others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """What became of a call."""

    call: FunctionCall
    arguments: dict[str, object] | str
    """As an activity records them."""
    result: object | Omit = OMIT
    """`OMIT` where the caller of the API is to answer: the completion ends with the reason `activity`."""
    failed: bool = False
    """Whether `result` is an error that the server tells the model: bad arguments, no such function, no answer."""

    @property
    def unanswered(self) -> bool:
        """Whether nobody answered yet and the completion ends here."""
        return self.result is OMIT


def numbered(calls: Sequence[FunctionCall], turn_id: str, made: int) -> list[FunctionCall]:
    """Return the calls under ids of their turn's, which made `made` calls before; made again, they get the same."""
    return [
        FunctionCall(id=f"{turn_id}.{made + number}", name=call.name, arguments=call.arguments)
        for number, call in enumerate(calls, 1)
    ]


class Caller:
    """Calls functions.

    `timeout` is how many seconds one waits for its channel; `waiting` is told which channels conversations wait on, so
    that their session tokens may publish there.
    """

    def __init__(
        self,
        waits: Waits,
        *,
        clock: Clock,
        timeout: float = FUNCTION_TIMEOUT,
        waiting: WaitingChannels | None = None,
    ) -> None:
        self._waits = waits
        self._clock = clock
        self._timeout = timeout
        self._waiting = waiting

    async def call(
        self,
        account_id: str,
        calls: Sequence[FunctionCall],
        functions: FunctionSet,
        emit: Emit,
        *,
        conversation_id: str | None = None,
        place: Place | None = None,
    ) -> Sequence[CallOutcome]:
        """Execute the calls of one reply side by side, those that share a channel one after another.

        `emit` is told of waits as they begin and end, also of one that ended without an answer: its message is then
        the error that the model is told. The outcomes are in the calls' order. Cancelled, it stops to listen.

        Waits of a turn of `conversation_id` that has a `place` can be answered with its tokens through any process.

        The `id` of a call goes out with its wait and comes back with its result: give calls ids that no other call on
        their channel has or had (`numbered`).
        """
        outcomes: dict[int, CallOutcome] = {}
        queues: dict[str, list[int]] = {}
        for index, call in enumerate(calls):
            outcome = self._at_once(call, functions)
            if isinstance(outcome, CallOutcome):
                outcomes[index] = outcome
            else:
                queues.setdefault(outcome, []).append(index)

        async def answer(channel: str, indices: Sequence[int]) -> None:
            for index in indices:
                wait = _Wait(account_id, conversation_id, place, channel, calls[index])
                outcomes[index] = await self._answer(wait, emit)

        await _side_by_side([answer(channel, indices) for channel, indices in queues.items()])
        return [outcomes[index] for index in range(len(calls))]

    def _at_once(self, call: FunctionCall, functions: FunctionSet) -> CallOutcome | str:
        """Return what becomes of a call without waiting, or the channel to wait on."""
        arguments = functions.arguments_of(call.name, call.arguments)
        if isinstance(arguments, ArgumentsError):
            return _failed(call, arguments.result)
        function = functions.get(call.name)
        match function.result if function is not None else None:
            case FunctionResult(channel=str() as channel):
                return channel
            case FunctionResult(data=data):
                return CallOutcome(call=call, arguments=dict(arguments), result=data)
            case _:
                return CallOutcome(call=call, arguments=dict(arguments))

    async def _answer(self, wait: _Wait, emit: Emit) -> CallOutcome:
        try:
            async with asyncio.timeout(self._timeout):
                message = await self._message(wait, emit)
        except TimeoutError:
            return self._unanswered(wait, f"{wait.call.name} did not answer within {self._timeout:g} s.", emit)
        except Lagging:
            return self._unanswered(wait, f"More came on the channel of {wait.call.name} than could be read.", emit)
        emit([self._end(wait, message)])
        return CallOutcome(call=wait.call, arguments=stored_arguments(wait.call.arguments), result=_result_of(message))

    async def _message(self, wait: _Wait, emit: Emit) -> object:
        """Return the first message that answers the call. It listens before anybody is told of the call."""
        async with self._waits.wait_on(wait.account_id, wait.channel) as messages, self._open_to_tokens(wait):
            emit([WaitForChannelMessageBeginEvent(data=wait.told(), created_at=self._clock())])
            async for message in messages:
                if not _is_foreign(message, wait.call.id):
                    return message
        raise Unavailable(f"The server stopped waiting for the result of {wait.call.name}. Try again.")

    @asynccontextmanager
    async def _open_to_tokens(self, wait: _Wait) -> AsyncGenerator[None]:
        """Let the session tokens of the conversation answer."""
        if self._waiting is None or wait.conversation_id is None:
            yield
            return
        with self._waiting.wait(wait.account_id, wait.conversation_id, wait.channel):
            async with self._waiting.share(wait.place, wait.call.id, wait.channel):
                yield

    def _unanswered(self, wait: _Wait, why: str, emit: Emit) -> CallOutcome:
        error: dict[str, object] = {"error": why}
        emit([self._end(wait, error)])
        return _failed(wait.call, error)

    def _end(self, wait: _Wait, message: object) -> WaitForChannelMessageEndEvent:
        return WaitForChannelMessageEndEvent(data=wait.told(message), created_at=self._clock())


@dataclass(frozen=True, slots=True)
class _Wait:
    """A call, and where its result is waited for."""

    account_id: str
    conversation_id: str | None
    place: Place | None
    channel: str
    call: FunctionCall

    def told(self, message: object = None) -> WaitForChannelMessage:
        function: dict[str, object] = {"name": self.call.name, "args": stored_arguments(self.call.arguments)}
        return WaitForChannelMessage(channel=self.channel, function=function, message=message, id=self.call.id)


def _failed(call: FunctionCall, error: dict[str, object]) -> CallOutcome:
    return CallOutcome(call=call, arguments=stored_arguments(call.arguments), result=error, failed=True)


def _result_of(message: object) -> object:
    """Return the result that a message brings; one without `data` and `error` is the result itself."""
    if not isinstance(message, dict):
        return message
    envelope = cast("dict[str, object]", message)
    if envelope.get("error"):
        return {"error": envelope["error"]}
    if "data" in envelope:
        return envelope["data"]
    return envelope


def _is_foreign(message: object, call_id: str) -> bool:
    """Return whether a message answers another call. One that is itself the result may have an `id` of its own."""
    if not isinstance(message, dict):
        return False
    envelope = cast("dict[str, object]", message)
    echoed = envelope.get("id")
    return isinstance(echoed, str) and echoed != call_id and not envelope.keys().isdisjoint(("data", "error"))


async def _side_by_side(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Run all of it; the first failure ends the rest, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
