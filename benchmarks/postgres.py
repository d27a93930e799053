"""A PostgreSQL server for the benchmarks: durable, on the loopback, and stopped with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.server.postgres import PostgresServer, binaries, started

from benchmarks.processes import free_port

__all__ = ["MISSING", "postgres_server"]

MISSING = "PostgreSQL's initdb and pg_ctl are neither on PATH nor in /usr/lib/postgresql"

OPTIONS = (
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=30min",
    "max_connections=200",
    "log_min_messages=fatal",
)
"""What one would set first; it waits for the disk at every commit, as it does by default."""


@contextmanager
def postgres_server(kept: Path | None = None) -> Generator[PostgresServer | None]:
    """Start a server, None where there is none to start; `kept` is a folder that stays, for the next run."""
    found = binaries()
    if found is None:
        yield None
        return
    folder = kept or Path(tempfile.mkdtemp(prefix="turnwise-benchmark-pg-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with started(PostgresServer(folder, found, OPTIONS, free_port()), stop="fast") as server:
            yield server
    finally:
        if kept is None:
            shutil.rmtree(folder)
