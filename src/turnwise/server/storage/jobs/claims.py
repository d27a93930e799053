# ruff: noqa: D103 - the port, journal.py, says what the methods promise that these carry out
"""Who answers a request of which nothing is stored but the answer: it stands where others have their message."""

from __future__ import annotations

from turnwise.server.storage.base import AlreadyDone, Once
from turnwise.server.storage.jobs.idempotency import SQL, digest_of, remember_once
from turnwise.server.storage.jobs.rows import Database, run
from turnwise.server.storage.jobs.turns import is_alive
from turnwise.server.storage.journal import Place

__all__ = ["claim_once", "release_once"]


def claim_once(db: Database, account_id: str, once: Once, place: Place) -> AlreadyDone | None:
    try:
        remember_once(db, account_id, once, _owner(place))
    except AlreadyDone as known:
        owner = known.message_id
        if owner is None or known.answer is not None or known.body != once.body:
            return known
        process_id = owner.partition("/")[0]
        if process_id != place.process_id and is_alive(db, process_id):
            return known
        taken = run(db, SQL["take"], _owner(place), digest_of(account_id, once.path, once.key), owner)
        return None if taken.rowcount else known
    return None


def release_once(db: Database, account_id: str, once: Once, place: Place) -> None:
    run(db, SQL["release"], digest_of(account_id, once.path, once.key), _owner(place))


def _owner(place: Place) -> str:
    return f"{place.process_id}/{place.turn_id}"
