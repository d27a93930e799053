# ruff: noqa: D103 - the port, base.py, says what the methods promise that these carry out
"""Idempotency keys: a request that is known changes nothing."""

from __future__ import annotations

import hashlib
from typing import Final

from turnwise.server.storage.base import AlreadyDone, Once
from turnwise.server.storage.jobs.rows import Database, run
from turnwise.server.storage.jobs.statements import load

__all__ = ["KEPT", "answer_once", "digest_of", "find_once", "remember_once"]

SQL: Final = load("idempotency")

KEPT: Final = 24 * 60 * 60 * 1000
"""Milliseconds for which a key is remembered."""


def find_once(db: Database, account_id: str, path: str, key: str, now: int) -> AlreadyDone | None:
    return _known(db, digest_of(account_id, path, key), now)


def remember_once(db: Database, account_id: str, once: Once, message_id: str | None = None) -> None:
    """Remember a request; raise `AlreadyDone` where it is known."""
    digest = digest_of(account_id, once.path, once.key)
    values = (digest, once.body, once.now, message_id, once.answer)
    if run(db, SQL["remember"], *values).rowcount == 1:
        return
    known = _known(db, digest, once.now)
    if known is not None:
        raise known
    run(db, SQL["forget"], digest, once.now - KEPT)
    run(db, SQL["remember"], *values)


def answer_once(db: Database, account_id: str, once: Once) -> None:
    """Add its answer to a request that was begun; raise `AlreadyDone` where it has one, or was another request."""
    digest = digest_of(account_id, once.path, once.key)
    if run(db, SQL["answer"], once.answer, digest, once.body, once.now - KEPT).rowcount == 0:
        remember_once(db, account_id, once)


def _known(db: Database, digest: bytes, now: int) -> AlreadyDone | None:
    row = run(db, SQL["find"], digest, now - KEPT).fetchone()
    return None if row is None else AlreadyDone(body=row[0], answer=row[1], message_id=row[2])


def digest_of(account_id: str, path: str, key: str) -> bytes:
    """Return what a request is found by."""
    account, place = account_id.encode(), path.encode()
    lengths = len(account).to_bytes(4) + len(place).to_bytes(4)
    return hashlib.blake2b(lengths + account + place + key.encode(), digest_size=16).digest()
