"""The port to retrieval: which passages speak about a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Match", "Passage", "Retriever"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be quoted."""

    text: str
    context: str = ""
    """What it stands under (a heading, the question it answers): searched with it, never quoted."""
    weight: float = 1.0
    """Its score is multiplied by this."""


@dataclass(frozen=True, slots=True)
class Match:
    """A passage that speaks about the question; scores compare within one search only."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """Finds passages."""

    async def search(self, query: str, passages: Sequence[Passage], *, limit: int) -> Sequence[Match]:
        """Return at most `limit` matches, best first, equals in the passages' order; fewer where fewer fit."""
        ...
