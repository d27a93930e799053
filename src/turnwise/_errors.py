"""What can go wrong, as one tree.

TurnwiseError
├── APIError                            the server answered with an error
│   ├── BadRequestError                 400
│   ├── AuthenticationError             401
│   ├── SubscriptionError               402
│   ├── PermissionDeniedError           403
│   ├── NotFoundError                   404
│   ├── MethodNotAllowedError           405
│   ├── RequestTimeoutError             408
│   ├── ConflictError                   409
│   ├── ContentTooLargeError            413
│   ├── UnprocessableEntityError        422
│   ├── RateLimitError                  429
│   ├── ServerError                     every 5xx
│   │   ├── InternalServerError         500
│   │   ├── NotImplementedByServerError 501
│   │   ├── BadGatewayError             502
│   │   ├── ServiceUnavailableError     503
│   │   └── GatewayTimeoutError         504
│   └── StreamError                     an error event ended a stream; `text` holds what came before it
├── ConnectionFailedError               no answer (also a ConnectionError)
│   ├── ConnectError                    nothing was sent: refused, unknown host, TLS
│   └── ConnectionLost                  the request was sent, or part of it; what became of it is unknown
├── TimedOutError                       (also a TimeoutError)
│   ├── ConnectTimeout                  nothing was sent
│   ├── IdleTimeout                     too long between two bytes
│   └── TotalTimeout                    too long as a whole
├── DecodeError                         the answer is not what this operation answers
└── StreamInterrupted                   a stream was cut, or ended without its result; `text` holds what came
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "ConflictError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionFailedError",
    "ConnectionLost",
    "ContentTooLargeError",
    "DecodeError",
    "GatewayTimeoutError",
    "IdleTimeout",
    "InternalServerError",
    "MethodNotAllowedError",
    "NotFoundError",
    "NotImplementedByServerError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestTimeoutError",
    "ServerError",
    "ServiceUnavailableError",
    "StreamError",
    "StreamInterrupted",
    "SubscriptionError",
    "TimedOutError",
    "TotalTimeout",
    "TurnwiseError",
    "UnprocessableEntityError",
]


class TurnwiseError(Exception):
    """Whatever goes wrong in a call."""

    hint: ClassVar[str] = ""
    """What to do next, in a sentence."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        """What happened, in the server's words where it said something."""
        self.request_id = request_id
        """The server's `x-request-id`, where there was an answer: name it when you report a problem."""

    def __str__(self) -> str:
        return " ".join(part for part in (_sentence(self.message), self._facts(), self._advice()) if part)

    def _facts(self) -> str:
        return f"[request {self.request_id}]" if self.request_id is not None else ""

    def _advice(self) -> str:
        return self.hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the attributes, whatever the constructor takes."""
        return _restore, (type(self), self.args, self.__dict__.copy())


class APIError(TurnwiseError):
    """The server answered with an error.

    `status` is the HTTP status; where the error came in a body that began with 200, the status its code stands for.
    """

    hint = "Read its body and headers: what stands between client and server may have sent it."

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        request_id: str | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.status = status
        self.code = code
        """The server's constant, such as `NOT_FOUND`; `GENERIC_ERROR` where its answer was not JSON."""
        self.body = body
        """The answer's body, as it came."""
        self.headers = dict(headers or {})
        """The answer's headers, names in lower case."""

    @property
    def retry_after(self) -> float | None:
        """How long the server asks to wait, in seconds, from `Retry-After` or `retry-after-ms`."""
        return _retry_after(self.headers)

    def _facts(self) -> str:
        request = f", request {self.request_id}" if self.request_id is not None else ""
        return f"[{self.status} {self.code}{request}]"


class BadRequestError(APIError):
    """400: the request is malformed, or holds what the operation does not take."""

    hint = "Correct the named field and call again."


class AuthenticationError(APIError):
    """401: no secret or token was given, or it is wrong, expired or revoked."""

    hint = "Pass a valid secret= to the client, or set TURNWISE_SECRET."


class SubscriptionError(APIError):
    """402: the account's subscription does not cover this."""

    hint = "Check the account's subscription."


class PermissionDeniedError(APIError):
    """403: this secret or token may not do this."""

    hint = "Use a secret of the account that owns it; a session token reaches its own conversation only."


class NotFoundError(APIError):
    """404: there is nothing under this id or path."""

    hint = "Check the id, and that base_url names the server that holds it."


class MethodNotAllowedError(APIError):
    """405: the path exists, but not for this method."""

    hint = "Check the endpoints option and that client and server speak the same version."


class RequestTimeoutError(APIError):
    """408: the server waited too long for the request."""

    hint = "Call again; a large body may need a faster connection."


class ConflictError(APIError):
    """409: the request does not fit the present state, or its Idempotency-Key was used for another body."""

    hint = "Fetch the present state, then decide whether to call again; give every new request its own key."


class ContentTooLargeError(APIError):
    """413: the body is larger than the server takes."""

    hint = "Send less in one request."


class UnprocessableEntityError(APIError):
    """422: the request is well formed and makes no sense."""

    hint = "Correct the named value and call again."


class RateLimitError(APIError):
    """429: too many requests, or a limit of the account is reached."""

    hint = "Wait (retry_after says how long, where the server does) and call again, or raise retries=."


class ServerError(APIError):
    """5xx: the server failed."""

    hint = "Call again later; if it lasts, report it with the request id."


class InternalServerError(ServerError):
    """500: something in the server broke."""


class NotImplementedByServerError(ServerError):
    """501: the server does not offer this (yet)."""

    hint = "Leave out what it names, or use a server that offers it."


class BadGatewayError(ServerError):
    """502: what the server depends on, such as its model, failed."""


class ServiceUnavailableError(ServerError):
    """503: the server is busy or shutting down."""


class GatewayTimeoutError(ServerError):
    """504: what the server depends on took too long."""


class StreamError(APIError):
    """An `error` event ended a stream."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        text: str = "",
        request_id: str | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, request_id=request_id, body=body, headers=headers)
        self.text = text
        """The part of the reply that had come."""

    def _advice(self) -> str:
        return ERRORS.get(self.status, APIError).hint


class ConnectionFailedError(TurnwiseError, builtins.ConnectionError):
    """The connection failed; there is no answer."""


class ConnectError(ConnectionFailedError):
    """No connection could be made; nothing was sent, so calling again is safe."""

    hint = "Check base_url and that the server is running."


class ConnectionLost(ConnectionFailedError):
    """The connection broke after the request, or part of it, was sent: what became of it is unknown."""

    hint = "Look whether the request took effect before you repeat it."


class TimedOutError(TurnwiseError, builtins.TimeoutError):
    """A time limit of the client passed."""


class ConnectTimeout(TimedOutError):
    """No connection within `Timeout.connect`; nothing was sent, so calling again is safe."""

    hint = "Check base_url and the network, or allow more with timeout=Timeout(connect=...)."


class IdleTimeout(TimedOutError):
    """No byte for `Timeout.idle` seconds: what became of the request is unknown."""

    hint = "Allow more with timeout=Timeout(idle=...), or use the streamed form of the call."


class TotalTimeout(TimedOutError):
    """Not finished within `Timeout.total`: what became of the request is unknown."""

    hint = "Allow more with timeout=, or use the streamed form of the call."


class DecodeError(TurnwiseError):
    """The answer is not JSON, or not what this operation answers."""

    hint = "Check that base_url names a Turnwise or ChatBotKit server and not a proxy's page; otherwise report it."

    def __init__(self, message: str, *, body: bytes = b"", request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.body = body
        """What could not be read, as it came."""


class StreamInterrupted(TurnwiseError):
    """A stream was cut, or ended without the result it owed."""

    hint = "The attribute text holds what had come; fetch the conversation's messages to see what was kept."

    def __init__(self, message: str, *, text: str = "", request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.text = text
        """The part of the reply that had come."""


ERRORS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: SubscriptionError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    408: RequestTimeoutError,
    409: ConflictError,
    413: ContentTooLargeError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    500: InternalServerError,
    501: NotImplementedByServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    504: GatewayTimeoutError,
}

STATUS_OF_CODE: dict[str, int] = {
    "BAD_REQUEST": 400,
    "NOT_AUTHENTICATED": 401,
    "NO_SUBSCRIPTION": 402,
    "NOT_AUTHORIZED": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "CONTENT_TOO_LARGE": 413,
    "UNPROCESSABLE_ENTITY": 422,
    "TOO_MANY_REQUESTS": 429,
    "LIMITS_REACHED": 429,
    "INTERNAL_SERVER_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "BAD_GATEWAY": 502,
    "SERVICE_UNAVAILABLE": 503,
    "GATEWAY_TIMEOUT": 504,
}


def error_class(status: int) -> type[APIError]:
    """Return the class of errors with this status."""
    return ERRORS.get(status, ServerError if status >= 500 else APIError)


def _sentence(message: str) -> str:
    return message if message.endswith((".", "!", "?")) else f"{message}."


def _retry_after(headers: Mapping[str, str]) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    return seconds if seconds is not None or value is None else _seconds_until(value)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _seconds_until(date: str) -> float | None:
    import time
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def _restore(cls: type[TurnwiseError], args: tuple[object, ...], state: dict[str, object]) -> TurnwiseError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
