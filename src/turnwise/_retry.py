"""When to try again: one generator that says what to do next, and two short drivers that do it.

Tried again is what 429, 500, 502, 503, 504 answered, what could not connect, and what broke or timed out on the way.
A POST that was sent and never answered may have taken effect, so it is repeated only where the server recognises
the repetition by its `Idempotency-Key`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from turnwise._errors import (
    APIError,
    ConnectError,
    ConnectionFailedError,
    ConnectTimeout,
    TimedOutError,
    TurnwiseError,
)

__all__ = ["LONGEST_WAIT", "RETRIED", "RetryPolicy", "Send", "Sleep", "adrive", "attempts", "drive"]

A = TypeVar("A")

RETRIED = frozenset({429, 500, 502, 503, 504})
LONGEST_WAIT = 30.0


def _random() -> float:
    from random import random

    return random()  # noqa: S311 - spreads waits, guards nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, after how long, and after which failures."""

    retries: int = 3
    delay: float = 0.25
    """Before the first repetition, in seconds; doubled before each further one."""
    timeouts: bool = True
    """Whether what took too long is tried again."""
    repeatable: bool = True
    """Whether a request whose fate is unknown may be sent again."""
    jitter: Callable[[], float] = _random
    """A number from 0 to 1 that spreads the waits of many clients."""

    def wants(self, error: TurnwiseError) -> bool:
        """Return whether a call that failed with `error` should be tried again."""
        if isinstance(error, APIError):
            return error.status in RETRIED
        if isinstance(error, TimedOutError) and not self.timeouts:
            return False
        if isinstance(error, (ConnectError, ConnectTimeout)):
            return True
        return self.repeatable and isinstance(error, (ConnectionFailedError, TimedOutError))

    def wait(self, attempt: int, error: TurnwiseError) -> float:
        """Return how long to wait after `attempt` (from 0) failed, in seconds."""
        asked = error.retry_after if isinstance(error, APIError) else None
        if asked is None:
            asked = self.delay * 2**attempt * (0.75 + self.jitter() / 2)
        return min(asked, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, and come back with the answer or the error."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait, because of `error`."""

    seconds: float
    error: TurnwiseError


SEND = Send()


def attempts(policy: RetryPolicy) -> Generator[Send | Sleep, A, A]:
    """Yield what to do until an attempt succeeds; return its answer, or raise the last attempt's error."""
    attempt = 0
    while True:
        try:
            return (yield SEND)
        except TurnwiseError as error:
            if attempt >= policy.retries or not policy.wants(error):
                raise
            pause = Sleep(policy.wait(attempt, error), error)
        yield pause
        attempt += 1


def drive(policy: RetryPolicy, send: Callable[[], A], sleep: Callable[[Sleep], object]) -> A:
    """Perform `attempts` with a function that sends and one that waits."""
    flow: Generator[Send | Sleep, A, A] = attempts(policy)
    step = next(flow)
    try:
        while True:
            if isinstance(step, Sleep):
                sleep(step)
                step = next(flow)
                continue
            try:
                answer = send()
            except TurnwiseError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def adrive(
    policy: RetryPolicy, send: Callable[[], Awaitable[A]], sleep: Callable[[Sleep], Awaitable[object]]
) -> A:
    """Perform `attempts` with a coroutine function that sends and one that waits."""
    flow: Generator[Send | Sleep, A, A] = attempts(policy)
    step = next(flow)
    try:
        while True:
            if isinstance(step, Sleep):
                await sleep(step)
                step = next(flow)
                continue
            try:
                answer = await send()
            except TurnwiseError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
