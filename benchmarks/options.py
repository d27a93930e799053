"""How thoroughly to measure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    rounds: int = 7
    """How often each contender measures; fewer where a row's time runs out."""
    full: bool = False
    """Whether `scale` stores 1,000,000 conversations and 10,000,000 messages, instead of a twentieth of that."""
