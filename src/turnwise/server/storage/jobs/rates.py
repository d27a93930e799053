# ruff: noqa: D103 - the port, rates.py, says what the methods promise that these carry out
"""What processes counted of accounts and session tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from turnwise.server.storage.jobs.rows import Database, run
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.rates import PERIOD_MS, PERIODS, Others, Tally

__all__ = ["SQL", "find_rates", "purge_rates", "store_rates"]

SQL: Final = load("rates")


def store_rates(db: Database, process_id: str, tallies: Sequence[Tally]) -> None:
    rows = [
        (each.subject, each.period, process_id, each.requests, each.messages, each.tokens, each.turns)
        for each in tallies
    ]
    db.executemany(SQL["store"], rows)


def find_rates(db: Database, process_id: str, subjects: Sequence[str]) -> Others:
    now, processes = cast("tuple[int, int]", run(db, SQL["here"]).fetchone())
    if not subjects:
        return Others(now=now, processes=processes)
    period = now // PERIOD_MS
    wanted = msgspec.json.encode(subjects).decode()
    # A process that knows the database's clock a little less well may be at the next period already.
    counted = [
        Tally(subject=subject, period=at, requests=requests, messages=messages, tokens=tokens)
        for subject, at, requests, messages, tokens in run(
            db, SQL["counted"], wanted, period - PERIODS + 1, period + 1, process_id
        )
    ]
    return Others(now=now, processes=processes, counted=counted, turns=_turns(db, process_id, wanted, period))


def _turns(db: Database, process_id: str, wanted: str, period: int) -> dict[str, int]:
    """Sum the turns of processes that told of them of late, by what each said last."""
    last: dict[tuple[str, str], int] = {}
    for subject, process, turns in run(db, SQL["turns"], wanted, period - 1, period + 1, process_id):
        last[subject, process] = turns
    running: dict[str, int] = {}
    for (subject, _), turns in last.items():
        running[subject] = running.get(subject, 0) + turns
    return running


def purge_rates(db: Database, *, now: int, limit: int) -> int:  # noqa: ARG001 - the database's clock counts here
    """Remove up to `limit` rows of periods that count no more; return how many went."""
    return run(db, SQL["purge"], PERIOD_MS, 2 * PERIODS, limit).rowcount
