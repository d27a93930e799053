"""Client-side sessions: a token for one conversation."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from turnwise.types._base import OMIT, Milliseconds, Omit, Request, Result

__all__ = ["Session", "SessionCreateRequest"]


class SessionCreateRequest(Request, frozen=True, kw_only=True):
    """The body of `session/create`."""

    duration_in_seconds: Annotated[float, Meta(ge=1, le=86400)] | None | Omit = OMIT
    """How long the token is valid: 3600 unless given, at most 86400."""


class Session(Result, frozen=True, kw_only=True):
    """A token that opens one conversation, to be handed to a browser."""

    id: str
    """The conversation's id."""
    token: str
    expires_at: Milliseconds

    def __repr__(self) -> str:
        return f"Session(id={self.id!r}, token='****', expires_at={self.expires_at!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("id", self.id), ("token", "****"), ("expires_at", self.expires_at)]
