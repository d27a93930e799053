"""`turnwise database copy` from SQLite to PostgreSQL, beside bare COPY of the same messages into the same table.

Ten messages a conversation, as `scale` has them, and everything else that such conversations bring along: each message
takes half a row of other tables with it. Copying alone, and with the comparison of both databases that ends it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import asyncpg

from benchmarks.measure import Samples, beside, rate
from benchmarks.options import Options
from benchmarks.postgres import MISSING, postgres_server
from benchmarks.report import AtLeast, Figure, Line, Skipped
from benchmarks.seed_database import seed
from turnwise.server.storage.deployment.copy import Advance, copy_deployment
from turnwise.server.storage.deployment.database import Chunk, next_rows
from turnwise.server.storage.deployment.open import deployment_at
from turnwise.server.storage.deployment.tables import copied_tables
from turnwise.server.storage.jobs.rows import Row

ROW = "database copy, SQLite to PostgreSQL"
CONVERSATIONS = 30_000
FULL = 300_000
MESSAGES = 10
UNIT = "messages/s"
ROUNDS = 3
MUST = AtLeast(30_000)


def measure(options: Options) -> list[Line]:
    conversations = FULL if options.full else CONVERSATIONS
    messages = conversations * MESSAGES
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        if server is None:
            return [Skipped(ROW, MISSING)]
        path = Path(folder) / "source.db"
        seed(path, conversations=conversations, messages=messages)
        copied: list[float] = []
        compared: list[float] = []
        bare: list[float] = []
        for _ in range(min(options.rounds, ROUNDS)):
            alone, whole = asyncio.run(_copy(path, server.database()))
            copied.append(messages / alone)
            compared.append(messages / whole)
            bare.append(messages / asyncio.run(_bare(path, server.database())))
    return [
        Figure(row=ROW, ours=rate(median(copied), UNIT), value=median(copied), unit=UNIT, bound=MUST),
        Figure(
            row=f"{ROW}, and comparing",
            ours=rate(median(compared), UNIT),
            value=median(compared),
            unit=UNIT,
            bound=MUST,
        ),
        beside(Samples({"ours": copied, "bare COPY": bare}), "bare COPY", row=ROW, unit=UNIT, bound=None),
    ]


async def _copy(path: Path, url: str) -> tuple[float, float]:
    """Return the seconds until all was copied, and until it was compared too."""
    ends = dict[str, float]()
    begin = time.perf_counter()

    def told(advance: Advance) -> None:
        ends[advance.phase] = time.perf_counter() - begin

    async with deployment_at(f"sqlite:///{path}") as source, deployment_at(url) as target:
        await copy_deployment(source, target, report=told)
        return ends["copy"], time.perf_counter() - begin


async def _bare(path: Path, url: str) -> float:
    """Return the seconds that PostgreSQL takes for the messages alone, out of memory, in chunks as large as ours."""
    (messages,) = [table for table in copied_tables() if table.name == "messages"]
    chunks: list[list[Row]] = []
    async with deployment_at(f"sqlite:///{path}") as source, deployment_at(url) as target:
        await target.prepare()
        while rows := await source.read(
            next_rows(messages, messages.key_of(chunks[-1][-1]) if chunks else None, Chunk())
        ):
            chunks.append(rows)
    connection = await asyncpg.connect(url)
    begin = time.perf_counter()
    for rows in chunks:
        async with connection.transaction():
            await connection.copy_records_to_table("messages", records=rows, columns=messages.columns)
    seconds = time.perf_counter() - begin
    await connection.close()
    return seconds
