"""Turns: the work on one reply, from the request until it has ended."""

from __future__ import annotations

from typing import Literal

from turnwise.types._base import Milliseconds, Result

__all__ = ["Turn", "TurnId", "TurnState"]

TurnState = Literal["waiting", "running", "done", "aborted", "failed", "interrupted"]
"""Where a turn is: `waiting` for the turn before it, `running`, or ended in one of four ways."""


class Turn(Result, frozen=True, kw_only=True):
    """The newest turn of a conversation: what a reloaded page needs to go on."""

    id: str
    state: TurnState | str
    attempt: int | None = None
    """From 1; one more each time that a server took the turn over from one that died."""
    created_at: Milliseconds | None = None
    started_at: Milliseconds | None = None
    """When the model was first asked."""
    ended_at: Milliseconds | None = None
    tokens: int | float | None = None
    """What the turn has used so far, input and output."""
    channel_id: str | None = None
    """Where a dispatched turn publishes its events."""
    reason: str | None = None
    """Why the turn ended."""


class TurnId(Result, frozen=True, kw_only=True):
    """The id of the turn that was cancelled."""

    id: str
