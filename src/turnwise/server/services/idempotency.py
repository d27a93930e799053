"""Requests that carry an `Idempotency-Key`: done once, answered alike ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from turnwise.server.errors import Conflict
from turnwise.server.storage.base import AlreadyDone, Once

__all__ = ["KeyedRequest", "done_once", "hash_body"]

T = TypeVar("T", bound=msgspec.Struct)


class KeyedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request with a key: which operation (its path), under which key, with which body (a hash of it)."""

    path: str
    key: str
    body: bytes
    now: int

    def once(self, answer: bytes | None = None) -> Once:
        """Return what storage is to remember, with the answer if there is one."""
        return Once(path=self.path, key=self.key, body=self.body, now=self.now, answer=answer)

    def check(self, body: bytes) -> None:
        """Refuse the request if it was first made with another body."""
        if body != self.body:
            message = (
                "This Idempotency-Key was used before with another body. "
                "Send the same body again to get the same answer, or use a new key for a new request."
            )
            raise Conflict(message)


def hash_body(body: bytes) -> bytes:
    """Return the hash under which a body is compared."""
    return hashlib.sha256(body).digest()


async def done_once(request: KeyedRequest | None, answer: T, write: Callable[[Once | None], Awaitable[None]]) -> T:
    """Do `write` and return `answer`; where the request was done before, return what it was answered with then."""
    try:
        await write(request.once(msgspec.json.encode(answer)) if request is not None else None)
    except AlreadyDone as done:
        if request is None:
            raise
        request.check(done.body)
        return msgspec.json.decode(done.answer or b"{}", type=type(answer))
    return answer
