"""The body of an error."""

from __future__ import annotations

from turnwise.types._base import Result

__all__ = ["ErrorBody"]


class ErrorBody(Result, frozen=True, kw_only=True):
    """What every error is, as an answer's body and as the data of an `error` event."""

    message: str
    """What happened, what was expected, what to do next."""
    code: str | None = None
    """A constant such as `NOT_FOUND`; see `wire-behaviour`."""
