"""Votes on conversations and messages."""

from __future__ import annotations

from typing import Final

from turnwise.server.services.fields import given
from turnwise.server.storage.base import Vote
from turnwise.types.message import DownvoteRequest, UpvoteRequest

__all__ = ["vote_of"]

WINDOW: Final = 60_000
FULL: Final = 100


def vote_of(request: UpvoteRequest | DownvoteRequest, *, at: int) -> Vote:
    """Return the vote a request casts: in full unless it says how much. One a minute counts."""
    value = given(request.value)
    if value is None:
        value = FULL if isinstance(request, UpvoteRequest) else -FULL
    return Vote(value=value, reason=given(request.reason), at=at, window=WINDOW)
