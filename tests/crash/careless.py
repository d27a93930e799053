"""A server with a lease of its own length, and mutants of it that are careless with turns.

    python -m tests.crash.careless LEASE_MS MUTANT --port 0 ...

MUTANT is `none`; or `attempt`: it writes turns without regard to who runs them, and does not stop when its lease
lapsed; or `lease`: it takes every process for dead. The process tests must find each of them out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from turnwise._entry import main
from turnwise.server.services import lease
from turnwise.server.storage.jobs import journal, turns
from turnwise.server.storage.jobs.rows import Database, run
from turnwise.server.storage.journal import Flush

WRITES = ("mine", "run_stateless", "step", "settle")
MINE, ANYBODYS = "attempt = ? AND owner = ?", "? IS NOT NULL AND ? IS NOT NULL"
LEASE, ENDLESS_LEASE = "lease_until > ", "lease_until > 8640000000000000 + "


def replace(name: str, right: str, wrong: str) -> None:
    """Plant a bug in a statement."""
    statement = turns.SQL[name]
    assert right in statement, f"{name}: {statement}"
    turns.SQL[name] = statement.replace(right, wrong)


def ignore_attempts() -> None:
    for name in WRITES:
        replace(name, MINE, ANYBODYS)
    flush = journal.flush

    def flush_all(db: Database, flushes: Sequence[Flush]) -> tuple[list[str], list[str]]:
        _, cancelled = flush(db, flushes)
        return [], cancelled

    register = turns.SQL["register"]

    def renew_anyway(db: Database, process_id: str, lease_ms: int) -> bool:
        run(db, register, process_id, lease_ms)
        return True

    journal.flush = flush_all
    turns.renew_process = renew_anyway


def skip_leases() -> None:
    for name in ("any_lapsed", "lapsed"):
        replace(name, LEASE, ENDLESS_LEASE)


MUTANTS = {"none": lambda: None, "attempt": ignore_attempts, "lease": skip_leases}

if __name__ == "__main__":
    lease_ms, mutant = int(sys.argv[1]), sys.argv[2]
    lease.LEASE_MS = lease_ms  # type: ignore[misc]
    lease.RENEW_SECONDS = lease_ms / 3000  # type: ignore[misc]
    MUTANTS[mutant]()
    sys.argv[1:3] = ["serve"]
    main()
