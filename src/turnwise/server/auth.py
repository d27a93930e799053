"""From the `Authorization` header to a principal."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from turnwise.server.errors import NotAuthenticated
from turnwise.server.principal import AccountPrincipal, Principal
from turnwise.server.services.session import SessionService
from turnwise.server.storage.base import Account, Storage

__all__ = ["Authenticator"]

KNOWN_FOR: Final = 1.0
KNOWN_AT_MOST: Final = 10_000


class Authenticator:
    """Looks secrets up by their digest and remembers them for a second; verifies session tokens."""

    def __init__(
        self,
        storage: Storage,
        sessions: SessionService,
        *,
        guests: Mapping[bytes, Account] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`guests` are digests that are valid as long as this process, without being stored."""
        self._storage = storage
        self._sessions = sessions
        self._guests = {digest: AccountPrincipal(account.id) for digest, account in (guests or {}).items()}
        self._monotonic = monotonic
        self._known: dict[bytes, tuple[float, AccountPrincipal]] = {}
        """Who sends which header, by its digest; it is taken apart once."""
        self._looked_up: dict[bytes, asyncio.Task[AccountPrincipal | None]] = {}

    def forget(self) -> None:
        """Look every secret up again: one was revoked."""
        self._known.clear()
        self._looked_up.clear()

    def recognize(self, authorization: bytes | None) -> Principal | None:
        """Return who sent this header if that was looked up just now; else `authenticate` tells."""
        if authorization is None:
            return None
        known = self._known.get(hashlib.sha256(authorization).digest())
        return known[1] if known is not None and known[0] > self._monotonic() else None

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """Return who sent this header. Raises `NotAuthenticated`."""
        secret = _bearer(authorization)
        digest = hashlib.sha256(secret).digest()
        header = hashlib.sha256(authorization or b"").digest()
        principal: Principal | None = self._guests.get(digest) or await self._find(digest, header)
        if principal is None:
            principal = await self._sessions.verify(secret.decode("latin-1"))
        if principal is None:
            raise NotAuthenticated(
                "This secret is not known here: it may be mistyped, or revoked. "
                "`turnwise secret create` on the server makes a new one."
            )
        return principal

    async def _find(self, digest: bytes, header: bytes) -> AccountPrincipal | None:
        """Look a secret up, once for all who come with it meanwhile."""
        task = self._looked_up.get(header)
        if task is None:
            task = self._looked_up[header] = asyncio.create_task(self._look_up(digest))
            task.add_done_callback(lambda task: self._end(header, task))
        return await asyncio.shield(task)

    async def _look_up(self, digest: bytes) -> AccountPrincipal | None:
        account = await self._storage.find_account(digest)
        return AccountPrincipal(account.id) if account is not None else None

    def _end(self, header: bytes, task: asyncio.Task[AccountPrincipal | None]) -> None:
        """Remember what was found, unless it is to be looked up again."""
        principal = None if task.cancelled() or task.exception() is not None else task.result()
        if self._looked_up.get(header) is not task:
            return
        del self._looked_up[header]
        self._known.pop(header, None)
        if principal is not None:
            if len(self._known) >= KNOWN_AT_MOST:
                self._known.clear()
            self._known[header] = self._monotonic() + KNOWN_FOR, principal


def _bearer(authorization: bytes | None) -> bytes:
    scheme, _, secret = (authorization or b"").partition(b" ")
    secret = secret.strip()
    if scheme.lower() != b"bearer" or not secret:
        raise NotAuthenticated("No secret was sent. Send it in the header `Authorization: Bearer SECRET`.")
    return secret
