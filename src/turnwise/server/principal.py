"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AccountPrincipal", "Principal", "SessionPrincipal"]


@dataclass(frozen=True, slots=True)
class AccountPrincipal:
    """Somebody who holds a secret of the account: may do everything with its data."""

    account_id: str


@dataclass(frozen=True, slots=True)
class SessionPrincipal:
    """Somebody who holds a token of one conversation: may do what `Operation.session` allows, there."""

    account_id: str
    conversation_id: str
    token_id: str
    """Tells the token from others, and opens nothing."""


Principal = AccountPrincipal | SessionPrincipal
