"""The same as `scale` over PostgreSQL: `list`, the last page of messages, `fetch`, with much stored and with little.

Both databases lie on one server, whose folder is kept in the temporary folder for the next run. How PostgreSQL goes
about each statement with much stored is told beside the figures, by EXPLAIN.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import asyncpg
from tests.server.postgres import PostgresServer, executed

from benchmarks.options import Options
from benchmarks.postgres import MISSING, postgres_server
from benchmarks.report import Line, Skipped, note
from benchmarks.rows.scale import ACCOUNT, FULL, LARGE, MESSAGES, READS, SMALL, Stored, compare
from benchmarks.seed_database import START, conversation_id
from benchmarks.seed_postgres import seed_postgres
from turnwise.server.storage.database import SCHEMA_VERSION
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_connection import STEADY, numbered

ON = ", PostgreSQL"


def measure(options: Options) -> list[Line]:
    large = FULL if options.full else LARGE
    kept = Path(tempfile.gettempdir()) / "turnwise-benchmarks" / f"postgres-{SCHEMA_VERSION}"
    with postgres_server(kept) as postgres, ExitStack() as opened:
        if postgres is None:
            return [Skipped(f"scale{ON}", MISSING)]
        servers: list[Stored] = []
        for many in (SMALL, large):
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            url = _filled(postgres, many)
            servers.append(opened.enter_context(Stored(many, folder, url)))
        lines: list[Line] = [compare(what, servers[0], servers[1], options, on=ON) for what in READS]
        for text in asyncio.run(_plans(_filled(postgres, large), large)):
            note(text)
        return lines


def _filled(postgres: PostgresServer, conversations: int) -> str:
    """Return the URL of a database of that size, made now unless an earlier run left one."""
    name = f"scale_{conversations}"
    known = asyncio.run(executed(postgres.url(), "SELECT 1 FROM pg_database WHERE datname = $1", name))
    if not known:
        begin = time.monotonic()
        for statement in (f"DROP DATABASE IF EXISTS {name}_begun", f"CREATE DATABASE {name}_begun"):
            asyncio.run(executed(postgres.url(), statement))

        def made(count: int) -> None:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\033[K{'█' * (40 * count // conversations):░<40} {count:,} conversations")
                sys.stderr.flush()

        asyncio.run(seed_postgres(postgres.url(f"{name}_begun"), conversations=conversations, each=MESSAGES, made=made))
        asyncio.run(executed(postgres.url(), f"ALTER DATABASE {name}_begun RENAME TO {name}"))
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        note(f"{clear}{conversations:,} conversations stored in {time.monotonic() - begin:.0f} s, in {postgres.folder}")
    return postgres.url(name)


async def _plans(url: str, conversations: int) -> Sequence[str]:
    """Return how PostgreSQL goes about what was measured, with what it really read."""
    conversation = conversation_id(conversations // 2)
    asked = {
        "list": ("conversations", "list_desc", f"'{ACCOUNT}', {2**63 - 1}, '', {START}, 100"),
        "last page of messages": ("messages", "list_desc", f"{conversations // 2 + 1}, {2**63 - 1}, 100"),
        "fetch": ("conversations", "fetch", f"'{conversation}'"),
    }
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(STEADY)
        return [f"{what}:\n{await _plan(connection, *statement)}" for what, statement in asked.items()]
    finally:
        await connection.close()


async def _plan(connection: asyncpg.Connection[asyncpg.Record], noun: str, name: str, values: str) -> str:
    await connection.execute(f"PREPARE asked AS {numbered(load(noun, dialect='postgres')[name])}")
    plan: list[asyncpg.Record] = await connection.fetch(
        f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) EXECUTE asked({values})"
    )
    await connection.execute("DEALLOCATE asked")
    return "\n".join(f"    {row[0]}" for row in plan)
