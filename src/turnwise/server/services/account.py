"""Accounts and their secrets."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from turnwise.server.errors import BadRequest
from turnwise.server.ids import Clock, NewId
from turnwise.server.storage.base import Account, SecretInfo, Storage

__all__ = ["DEFAULT_ACCOUNT", "AccountService", "NewSecret", "digest_secret", "is_weak", "make_secret"]

DEFAULT_ACCOUNT: Final = "default"
"""The name of the account that a server makes by itself."""

PREFIX: Final = "tw_"
HINT_CHARACTERS: Final = 7
SAFE_LENGTH: Final = 16
PATIENCE: Final = 2.0
PATIENCE_STEP: Final = 0.05


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret that was just made: shown once, then only its digest is known."""

    id: str
    account: Account
    secret: str = field(repr=False)


def make_secret() -> str:
    """Return a new secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def is_weak(secret: str) -> bool:
    """Tell whether a secret that somebody made up is short enough to be guessed."""
    return len(secret) < SAFE_LENGTH


def digest_secret(secret: str) -> bytes:
    """Return what is stored of a secret, and looked up. Secrets are random: a fast hash is a safe one."""
    return hashlib.sha256(secret.encode()).digest()


class AccountService:
    """Makes accounts, and makes, lists and revokes their secrets."""

    def __init__(self, storage: Storage, *, new_id: NewId, clock: Clock) -> None:
        self._storage = storage
        self._new_id = new_id
        self._clock = clock

    async def ensure_account(self, name: str) -> Account:
        """Return the account of that name; make it if there is none."""
        return await self._storage.ensure_account(Account(self._new_id(), name), now=self._clock())

    async def create_secret(self, account_name: str, secret: str | None = None) -> NewSecret:
        """Give an account a secret, `secret` itself or a new one. The account is made if there is none."""
        if secret is None:
            secret = make_secret()
        elif not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise BadRequest(
                "A secret is made of printable ASCII characters without spaces. "
                "`turnwise secret create` makes a good one."
            )
        account = await self.ensure_account(account_name)
        secret_id = self._new_id()
        await self._storage.add_secret(
            account.id,
            secret_id=secret_id,
            digest=digest_secret(secret),
            hint=secret[: min(HINT_CHARACTERS, len(secret) // 3)],
            now=self._clock(),
        )
        return NewSecret(secret_id, account, secret)

    async def first_secret(self, *, patience: float = PATIENCE) -> NewSecret | None:
        """Make a secret of the account `default`, unless there is a secret of any account.

        Of servers that start at once on an empty database, the one that makes the account makes the secret; the others
        wait `patience` seconds for it, and make one only if that server did not live to.
        """
        if await self.has_secrets():
            return None
        proposal = Account(self._new_id(), DEFAULT_ACCOUNT)
        account = await self._storage.ensure_account(proposal, now=self._clock())
        if account.id != proposal.id and await self._gets_secrets(patience):
            return None
        return await self.create_secret(DEFAULT_ACCOUNT)

    async def _gets_secrets(self, patience: float) -> bool:
        """Wait until another server made a secret; tell whether one did."""
        try:
            async with asyncio.timeout(patience):
                while not await self.has_secrets():  # noqa: ASYNC110 - a server that starts is told nothing
                    await asyncio.sleep(PATIENCE_STEP)
        except TimeoutError:
            return False
        return True

    async def has_secrets(self) -> bool:
        """Tell whether any secret was ever made."""
        return bool(await self._storage.secrets())

    async def secrets(self) -> Sequence[SecretInfo]:
        """Return what is known of all secrets."""
        return await self._storage.secrets()

    async def revoke_secret(self, secret_id: str) -> SecretInfo:
        """Revoke a secret. Running servers refuse it within a second. `NotFound` if there is none of that id."""
        return await self._storage.revoke_secret(secret_id, now=self._clock())
