"""What can go wrong in the domain, and the one table that maps it to status and code."""

from __future__ import annotations

__all__ = [
    "BadRequest",
    "Conflict",
    "ContentTooLarge",
    "DomainError",
    "Forbidden",
    "InDoubt",
    "LimitsReached",
    "MethodNotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotYetImplemented",
    "RequestTimeout",
    "TooManyRequests",
    "Unavailable",
    "Upstream",
]


class DomainError(Exception):
    """A refusal: a message for the client, and the status and code it travels with."""

    status: int = 500
    code: str = "INTERNAL_SERVER_ERROR"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class BadRequest(DomainError):
    """Something in the request is wrong; the message names the field's path."""

    status = 400
    code = "BAD_REQUEST"


class NotAuthenticated(DomainError):
    """No secret or token, or one that is unknown, forged, expired or revoked."""

    status = 401
    code = "NOT_AUTHENTICATED"


class Forbidden(DomainError):
    """It exists, and is not this principal's."""

    status = 403
    code = "NOT_AUTHORIZED"


class NotFound(DomainError):
    """It does not exist."""

    status = 404
    code = "NOT_FOUND"


class MethodNotAllowed(DomainError):
    """The path exists, the method does not fit it."""

    status = 405
    code = "METHOD_NOT_ALLOWED"


class RequestTimeout(DomainError):
    """The request's body did not arrive in time."""

    status = 408
    code = "TIMEOUT"


class Conflict(DomainError):
    """It contradicts what is stored or running."""

    status = 409
    code = "CONFLICT"


class ContentTooLarge(DomainError):
    """The request's body is larger than allowed."""

    status = 413
    code = "CONTENT_TOO_LARGE"


class TooManyRequests(DomainError):
    """Come back later."""

    status = 429
    code = "TOO_MANY_REQUESTS"


class LimitsReached(DomainError):
    """An account, or a session token, has used what it may for now."""

    status = 429
    code = "LIMITS_REACHED"

    def __init__(
        self, message: str, *, retry_after: float, name: str, limit: int, left: int, window: int | None
    ) -> None:
        """`name` is the limit's, `window` its seconds: `None` for one of what runs at once."""
        super().__init__(message, retry_after=retry_after)
        self.name = name
        self.limit = limit
        self.left = left
        self.window = window


class NotYetImplemented(DomainError):
    """Asked for something this server cannot do yet; the message names the operation or the field."""

    status = 501
    code = "NOT_IMPLEMENTED"


class Unavailable(DomainError):
    """The server cannot answer now."""

    status = 503
    code = "SERVICE_UNAVAILABLE"


class InDoubt(Unavailable):
    """Nobody can tell now whether what was to be stored was."""


class Upstream(DomainError):
    """A model server failed; status and code say how."""

    def __init__(self, message: str, *, status: int, code: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.code = code
