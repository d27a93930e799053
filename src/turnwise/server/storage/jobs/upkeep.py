"""What is no longer needed leaves the disk, a few rows at a time."""

from __future__ import annotations

from typing import Final

from turnwise.server.storage.jobs.conversations import remove_conversation
from turnwise.server.storage.jobs.idempotency import KEPT
from turnwise.server.storage.jobs.rows import Database, run, some_of
from turnwise.server.storage.jobs.statements import load

__all__ = ["purge", "purge_keys"]

SQL: Final = load("upkeep")

_CONTENTS: Final = ("purge_messages", "purge_votes", "purge_used", "purge_removed_messages_of")
_AGED: Final = ("purge_removed_messages", "purge_removed_conversations", "purge_writers")


def purge(db: Database, *, now: int, limit: int) -> int:
    """Remove up to `limit` rows; return how many went, 0 only where nothing is left to remove."""
    expired = run(db, SQL["expired"], now, limit).fetchall()
    for (conversation_id,) in expired:
        remove_conversation(db, conversation_id, now)
    gone = len(expired)
    while gone < limit and (removed := run(db, SQL["not_emptied"]).fetchone()) is not None:
        gone += _empty(db, removed[0], limit - gone)
    for name in _AGED:
        if gone < limit:
            gone += run(db, SQL[name], now - KEPT, limit - gone).rowcount
    return gone


def purge_keys(db: Database, *, now: int, limit: int) -> int:
    """Remove up to `limit` idempotency keys that are a day old; return how many went.

    There is one for most writes, so they go many at a time. While something old is still read (a backup), PostgreSQL
    passes over all that went since each time it looks for the first.
    """
    rows = some_of(run(db, SQL["aged_keys"], now - KEPT, limit).fetchall())
    if not rows:
        return 0
    return run(db, SQL["purge_idempotency"], now - KEPT, rows[0][0], rows[-1][0]).rowcount


def _empty(db: Database, key: int, limit: int) -> int:
    gone = 0
    for name in _CONTENTS:
        gone += run(db, SQL[name], key, limit - gone).rowcount
        if gone >= limit:
            return gone
    run(db, SQL["emptied"], key)
    return gone
