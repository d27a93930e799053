"""How far one completion may go."""

from __future__ import annotations

from dataclasses import dataclass

from turnwise.server.services.fields import given
from turnwise.types._base import Omit
from turnwise.types.extension import Limits

__all__ = ["Ceilings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Hard bounds of a completion: those of the server, or what a request leaves of them."""

    iterations: int = 25
    """How often the model is asked."""
    continuations: int = 5
    """How often a reply that was cut by its length is gone on with."""
    calls: int = 100
    """How many functions are called, calls that failed included."""

    def within(self, limits: Limits | None | Omit) -> Ceilings:
        """Return these bounds, lowered to a request's own. Only a request that says so has a cut reply gone on with."""
        wanted = given(limits) or Limits()
        return Ceilings(
            iterations=min(self.iterations, given(wanted.iterations) or self.iterations),
            continuations=min(self.continuations, given(wanted.continuations) or 0),
            calls=min(self.calls, given(wanted.calls) or self.calls),
        )
