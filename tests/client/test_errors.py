from __future__ import annotations

import pickle
import re
from email.utils import formatdate
from time import time

import pytest

from turnwise import _errors
from turnwise._errors import (
    APIError,
    ConnectError,
    ConnectionFailedError,
    DecodeError,
    IdleTimeout,
    NotFoundError,
    RateLimitError,
    ServerError,
    StreamError,
    StreamInterrupted,
    TimedOutError,
    TurnwiseError,
    error_class,
)


def api_error(status: int = 404, headers: dict[str, str] | None = None) -> APIError:
    return error_class(status)(
        "There is no such conversation", status=status, code="NOT_FOUND", request_id="r1", body=b"{}", headers=headers
    )


def test_the_docstring_draws_every_class() -> None:
    lines = (_errors.__doc__ or "").splitlines()[2:]
    drawn = [words[0] for line in lines if (words := re.findall(r"\w+", line))]
    assert sorted(drawn) == sorted(_errors.__all__)


@pytest.mark.parametrize("status, kind", _errors.ERRORS.items())
def test_each_status_has_a_class_with_advice(status: int, kind: type[APIError]) -> None:
    assert error_class(status) is kind
    assert kind.hint.endswith(".")


def test_statuses_without_a_class_of_their_own_have_their_family() -> None:
    assert error_class(418) is APIError
    assert error_class(507) is ServerError


def test_a_message_says_what_happened_where_and_what_to_do() -> None:
    assert str(api_error()) == (
        "There is no such conversation. [404 NOT_FOUND, request r1] "
        "Check the id, and that base_url names the server that holds it."
    )
    assert str(TurnwiseError("Broken!", request_id="r2")) == "Broken! [request r2]"
    assert str(APIError("Odd", status=418, code="TEA")) == f"Odd. [418 TEA] {APIError.hint}"


def test_connection_errors_and_timeouts_are_also_the_builtin_ones() -> None:
    assert issubclass(ConnectionFailedError, ConnectionError)
    assert issubclass(TimedOutError, TimeoutError)


@pytest.mark.parametrize(
    "error",
    [
        api_error(429, {"retry-after": "3"}),
        ConnectError("refused"),
        IdleTimeout("silent"),
        DecodeError("no JSON", body=b"<html>", request_id="r"),
        StreamError("broke", status=500, code="X", text="par", request_id="r"),
        StreamInterrupted("cut", text="par"),
    ],
)
def test_every_error_survives_pickling(error: TurnwiseError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": formatdate(0, usegmt=True)}, 0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert api_error(429, headers).retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    asked = api_error(429, {"retry-after": formatdate(time() + 20, usegmt=True)}).retry_after
    assert asked is not None
    assert 15 < asked <= 20


def test_a_stream_error_advises_by_its_status() -> None:
    error = StreamError("Slow down", status=429, code="TOO_MANY_REQUESTS")
    assert str(error).endswith(RateLimitError.hint)
    assert not isinstance(error, NotFoundError)
