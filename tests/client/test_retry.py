from __future__ import annotations

import pytest

from turnwise._errors import (
    APIError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    DecodeError,
    IdleTimeout,
    TotalTimeout,
    TurnwiseError,
    error_class,
)
from turnwise._retry import RetryPolicy, Sleep, adrive, drive


def status(code: int, **headers: str) -> APIError:
    return error_class(code)("m", status=code, code="C", headers=headers)


class Flaky:
    """Fails with each error in turn, then answers."""

    def __init__(self, *errors: TurnwiseError) -> None:
        self.errors = list(errors)
        self.sent = 0
        self.slept: list[float] = []

    def send(self) -> str:
        self.sent += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def asend(self) -> str:
        return self.send()

    def sleep(self, step: Sleep) -> None:
        self.slept.append(step.seconds)

    async def asleep(self, step: Sleep) -> None:
        self.sleep(step)


POLICY = RetryPolicy(jitter=lambda: 0.5)


async def test_both_drivers_wait_and_try_again() -> None:
    for run in (0, 1):
        flaky = Flaky(status(503), ConnectError("refused"), IdleTimeout("silent"))
        if run:
            assert await adrive(POLICY, flaky.asend, flaky.asleep) == "answer"
        else:
            assert drive(POLICY, flaky.send, flaky.sleep) == "answer"
        assert flaky.slept == [0.25, 0.5, 1.0]


async def test_the_last_error_is_raised_when_tries_run_out() -> None:
    last = status(504)
    flaky = Flaky(*[status(503)] * 3, last)
    with pytest.raises(APIError) as caught:
        drive(POLICY, flaky.send, flaky.sleep)
    assert caught.value is last
    assert flaky.sent == 4
    with pytest.raises(APIError):
        await adrive(POLICY, Flaky(*[status(503)] * 4).asend, Flaky().asleep)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 501])
def test_these_statuses_are_not_tried_again(code: int) -> None:
    assert not POLICY.wants(status(code))


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_these_statuses_are_tried_again(code: int) -> None:
    assert RetryPolicy(repeatable=False).wants(status(code))


@pytest.mark.parametrize("error", [ConnectionLost("x"), IdleTimeout("x"), TotalTimeout("x")])
def test_what_may_have_taken_effect_is_repeated_only_where_that_is_safe(error: TurnwiseError) -> None:
    assert RetryPolicy(repeatable=True).wants(error)
    assert not RetryPolicy(repeatable=False).wants(error)


@pytest.mark.parametrize("error", [ConnectError("x"), ConnectTimeout("x")])
def test_what_was_never_sent_is_always_tried_again(error: TurnwiseError) -> None:
    assert RetryPolicy(repeatable=False).wants(error)


@pytest.mark.parametrize("error", [ConnectTimeout("x"), IdleTimeout("x"), TotalTimeout("x")])
def test_timeouts_can_be_left_alone(error: TurnwiseError) -> None:
    assert not RetryPolicy(timeouts=False).wants(error)


def test_an_answer_that_cannot_be_read_is_not_asked_for_again() -> None:
    assert not POLICY.wants(DecodeError("x"))


def test_waits_double_within_their_jitter_and_end_at_thirty_seconds() -> None:
    assert [RetryPolicy(jitter=lambda: 0.0).wait(n, status(503)) for n in range(3)] == [0.1875, 0.375, 0.75]
    assert RetryPolicy(jitter=lambda: 1.0).wait(0, status(503)) == 0.3125
    assert POLICY.wait(20, status(503)) == 30
    assert 0.1875 <= RetryPolicy().wait(0, status(503)) <= 0.3125


def test_the_server_says_how_long_to_wait_up_to_thirty_seconds() -> None:
    assert POLICY.wait(0, status(429, **{"retry-after": "2"})) == 2
    assert POLICY.wait(0, status(429, **{"retry-after-ms": "20"})) == 0.02
    assert POLICY.wait(0, status(429, **{"retry-after": "3600"})) == 30
