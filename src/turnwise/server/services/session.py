"""Session tokens: what a browser may hold, to talk in one conversation for a while."""

from __future__ import annotations

import math
import secrets
from collections.abc import Container
from typing import Final, cast

import msgspec

from turnwise.server.errors import DomainError, NotAuthenticated
from turnwise.server.ids import Clock
from turnwise.server.principal import SessionPrincipal
from turnwise.server.services.idempotency import KeyedRequest, done_once
from turnwise.server.storage.base import Once, Storage
from turnwise.types._base import OMIT
from turnwise.types.session import Session, SessionCreateRequest

__all__ = ["SessionService", "random_key"]

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "turnwise-session"
DEFAULT_SECONDS: Final = 3600


def random_key() -> bytes:
    """Return a new key to sign tokens with."""
    return secrets.token_bytes(32)


class Claims(msgspec.Struct, frozen=True):
    """What a token says. A repeated request mints the token again from these: the token itself is never stored."""

    account: str
    conversation: str
    until: int
    """Milliseconds since the epoch."""


class SessionService:
    """Makes and verifies session tokens, signed with the database's own key."""

    def __init__(self, storage: Storage, *, clock: Clock, key: bytes, open_accounts: Container[str] = ()) -> None:
        """`open_accounts` are open without a stored secret, as long as this process."""
        self._storage = storage
        self._clock = clock
        self._key = key
        self._open_accounts = open_accounts

    async def create(
        self, account_id: str, conversation_id: str, request: SessionCreateRequest, *, keyed: KeyedRequest | None
    ) -> Session:
        """Make a token for a conversation of the account."""
        await self._storage.fetch_conversation(account_id, conversation_id)
        seconds = request.duration_in_seconds
        lifetime = DEFAULT_SECONDS if seconds is OMIT or seconds is None else seconds
        claims = Claims(account_id, conversation_id, self._clock() + int(lifetime * 1000))

        async def write(once: Once | None) -> None:
            if once is not None:
                await self._storage.remember(account_id, once)

        claims = await done_once(keyed, claims, write)
        return Session(id=claims.conversation, token=self._sign(claims), expires_at=claims.until)

    async def verify(self, token: str) -> SessionPrincipal | None:
        """Return who holds this token; `None` where it is none.

        Raises:
            NotAuthenticated: it is forged, or expired, or its conversation is gone, or its account closed.
        """
        if token.count(".") != 2:
            return None
        claims = self._decode(token)
        if claims.until <= self._clock():
            raise NotAuthenticated("This session token has expired. Ask your server for a new one (`session/create`).")
        if claims.account not in self._open_accounts and not await self._storage.account_open(claims.account):
            raise NotAuthenticated("This session token has ended: the last secret of its account was revoked.")
        try:
            await self._storage.fetch_conversation(claims.account, claims.conversation)
        except DomainError as error:
            if error.status not in {403, 404}:
                raise
            raise NotAuthenticated("This session token has ended: its conversation was deleted.") from None
        # Two tokens that say the same are the same, byte by byte.
        return SessionPrincipal(claims.account, claims.conversation, f"{claims.conversation}/{claims.until}")

    def _sign(self, claims: Claims) -> str:
        import jwt

        payload = {
            "aud": AUDIENCE,
            "sub": claims.conversation,
            "account": claims.account,
            "until": claims.until,
            "exp": math.ceil(claims.until / 1000),
        }
        # PyJWT's types name those of a package that is not needed for this algorithm.
        return jwt.encode(payload, self._key, algorithm=ALGORITHM)  # pyright: ignore[reportUnknownMemberType]

    def _decode(self, token: str) -> Claims:
        import jwt

        try:
            # `until` is checked with our own clock, to the millisecond.
            payload = cast(
                "dict[str, object]",
                jwt.decode(  # pyright: ignore[reportUnknownMemberType]
                    token,
                    self._key,
                    algorithms=[ALGORITHM],
                    audience=AUDIENCE,
                    options={"require": ["sub", "account", "until", "exp"], "verify_exp": False},
                ),
            )
            return msgspec.convert({**payload, "conversation": payload["sub"]}, Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError):
            raise NotAuthenticated(
                "This session token is not one of this server's. Ask your server for a new one (`session/create`)."
            ) from None
