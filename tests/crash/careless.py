"""A server with a lease of its own length, and mutants of it that are careless with turns.

    python -m tests.crash.careless LEASE_MS MUTANT --port 0 ...

MUTANT is `none`; or `attempt`: it writes turns without regard to who runs them, and does not stop when its lease
lapsed; or `lease`: it takes every process for dead. The process tests must find each of them out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.server.storage.planted import plant

from turnwise._entry import main
from turnwise.server.services import lease
from turnwise.server.storage.jobs import journal, turns
from turnwise.server.storage.jobs.rows import Database, run
from turnwise.server.storage.journal import Flush, Place

WRITES = ("mine", "run_stateless", "step", "settle")


def cheat(names: Sequence[str], mutant: str) -> None:
    for name in names:
        assert plant(name, mutant), f"{name}: {turns.SQL[name]}"


def ignore_attempts() -> None:
    cheat(WRITES, "ignores the attempt")
    cheat(WRITES, "ignores the process")
    flush = journal.flush

    def flush_all(db: Database, flushes: Sequence[Flush]) -> tuple[list[Place], list[str]]:
        _, cancelled = flush(db, flushes)
        return [], cancelled

    register = turns.SQL["register"]

    def renew_anyway(db: Database, process_id: str, lease_ms: int) -> bool:
        run(db, register, process_id, lease_ms)
        return True

    journal.flush = flush_all
    turns.renew_process = renew_anyway


def skip_leases() -> None:
    cheat(("any_lapsed", "lapsed"), "takes every process for dead")


MUTANTS = {"none": lambda: None, "attempt": ignore_attempts, "lease": skip_leases}

if __name__ == "__main__":
    lease_ms, mutant = int(sys.argv[1]), sys.argv[2]
    lease.LEASE_MS = lease_ms  # type: ignore[misc]
    lease.RENEW_SECONDS = lease_ms / 3000  # type: ignore[misc]
    MUTANTS[mutant]()
    sys.argv[1:3] = ["serve"]
    main()
