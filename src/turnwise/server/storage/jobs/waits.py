# ruff: noqa: D103 - the port, journal.py, says what the methods promise that these carry out
"""The channels that running turns wait on, for whoever is asked to publish there."""

from __future__ import annotations

from typing import Final, cast

from turnwise.server.storage.jobs.rows import Database, run
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.jobs.turns import is_alive
from turnwise.server.storage.journal import Place

__all__ = ["begin_wait", "end_wait", "purge_waits", "waited_on"]

SQL: Final = load("waits")


def begin_wait(db: Database, place: Place, call_id: str, channel_id: str) -> None:
    run(db, SQL["begin"], place.turn_id, call_id, place.attempt, channel_id)


def end_wait(db: Database, place: Place, call_id: str) -> None:
    run(db, SQL["end"], place.turn_id, call_id, place.attempt)


def waited_on(db: Database, account_id: str, conversation_id: str, channel_id: str) -> bool:
    row = run(db, SQL["waiting"], conversation_id, account_id, channel_id).fetchone()
    return row is not None and is_alive(db, cast("str", row[0]))


def purge_waits(db: Database, *, now: int, limit: int) -> int:  # noqa: ARG001 - its turn's end is what counts
    """Remove up to `limit` rows whose turn has ended: its process died before it could; return how many went."""
    return run(db, SQL["purge"], limit).rowcount
