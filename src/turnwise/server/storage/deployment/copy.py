"""A whole deployment goes to another database: copied, compared, and only then free to be served.

What is copied is committed chunk by chunk, each together with the place it reached, so that a copy that was interrupted
at any moment goes on there. At the end both databases are read anew and compared, table by table; until they agree, no
Turnwise serves the target.

Indexes are there from the beginning. What comes in the order of its key, as here, goes to the end of nearly all of
them, and a target whose schema is whole at every moment needs nothing mended after an interruption.

Turns that have not ended are copied as they are. The leases of processes stay behind, so a server on the target finds
them as it finds those of a server that died: a dispatched turn goes on, any other is settled as interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from turnwise.server.errors import Unavailable
from turnwise.server.storage.deployment.database import Chunk, Deployment, next_rows, version_of
from turnwise.server.storage.deployment.progress import CopyFailed, Reached, begin, check_current, finish, store
from turnwise.server.storage.deployment.status import live_processes
from turnwise.server.storage.deployment.tables import StoredTable, copied_tables
from turnwise.server.storage.deployment.verification import Checksum, checksum_of
from turnwise.server.storage.jobs.rows import Row

__all__ = ["Advance", "CopyFailed", "CopyOptions", "TableCopy", "copy_deployment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far a phase has come, all in all and with the table it is at. Comparing reads each row twice."""

    phase: Literal["copy", "verify"]
    table: str
    rows: int
    """Of the table so far, those included that an earlier start had copied."""
    ended: bool
    """Whether the table is done."""
    done: int
    """Rows of all tables so far."""
    total: int
    """The rows there are; a database may turn out to have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCopy:
    """A table that is the same in both databases."""

    name: str
    checksum: Checksum

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.checksum.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """How to copy."""

    running: bool = False
    """Whether servers may be running on the source."""
    restart: bool = False
    """Whether to throw away what an earlier copy left unfinished in the target."""
    chunk: Chunk = field(default_factory=Chunk)


async def copy_deployment(
    source: Deployment,
    target: Deployment,
    *,
    options: CopyOptions | None = None,
    report: Callable[[Advance], None] = lambda _: None,
) -> Sequence[TableCopy]:
    """Copy everything; return what was compared and found the same.

    Raises `CopyFailed`; what was copied by then stays in the target, for the next start to go on with.
    """
    options = options or CopyOptions()
    try:
        await _check_source(source, options)
        if await source.same_as(target):
            raise CopyFailed("Source and target are the same database. Name another target.")
        reached = await begin(source, target, restart=options.restart)
    except Unavailable as error:
        raise CopyFailed(str(error)) from error
    copying = _Copying(source, target, options.chunk, report)
    try:
        copied = await copying.verify(await copying.load(reached))
        await target.settle()
        await target.write(finish)
    except Unavailable as error:
        raise CopyFailed(
            f"{error} What was copied is kept: start the same command again when this is mended, and it goes on."
        ) from error
    return copied


async def _check_source(source: Deployment, options: CopyOptions) -> None:
    version = await source.read(version_of)
    if version is None:
        raise CopyFailed(f"{source.label} has no tables of Turnwise's: there is nothing to copy. Check the URL.")
    check_current(version, source.label)
    live = await source.read(live_processes)
    if live and not options.running:
        raise CopyFailed(
            f"{'A server is' if live == 1 else f'{live} servers are'} running on {source.label}, and what is stored "
            "while it is copied would be missing in the copy. Stop servers first; one that was killed counts as "
            "running for six seconds more. With --running it is copied all the same, and the comparison at the end "
            "fails if anything changed."
        )


@dataclass(slots=True)
class _Told:
    """What a phase has told of itself."""

    phase: Literal["copy", "verify"]
    report: Callable[[Advance], None]
    total: int
    done: int = 0
    table: str = ""
    rows: int = 0

    def begin(self, table: StoredTable, rows: int = 0) -> None:
        self.table, self.rows = table.name, rows
        self._tell()

    def add(self, rows: int) -> None:
        self.rows += rows
        self.done += rows
        self._tell()

    def end(self) -> None:
        self._tell(ended=True)

    def _tell(self, *, ended: bool = False) -> None:
        self.total = max(self.total, self.done)
        self.report(
            Advance(phase=self.phase, table=self.table, rows=self.rows, ended=ended, done=self.done, total=self.total)
        )


@dataclass(frozen=True, slots=True)
class _Copying:
    source: Deployment
    target: Deployment
    chunk: Chunk
    report: Callable[[Advance], None]

    async def load(self, reached: Mapping[str, Reached]) -> int:
        """Copy what the target does not have yet; return how many rows there are."""
        rows = sum([max(await self._count(table), reached[table.name].copied) for table in copied_tables()])
        told = _Told("copy", self.report, rows, sum(each.copied for each in reached.values()))
        for table in copied_tables():
            await self._load_table(table, reached[table.name], told)
        return told.done

    async def verify(self, rows: int) -> Sequence[TableCopy]:
        """Read both databases, each as it is now, and compare them; `CopyFailed` tells of all that differs.

        `rows` is how many each should have.
        """
        async with self.source.snapshot(), self.target.snapshot():
            told = _Told("verify", self.report, 2 * rows)
            pairs = {table.name: await self._checksums(table, told) for table in copied_tables()}
            lost = [table.name for table in copied_tables() if await self._forgets_numbers(table)]
        differences = [_difference(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]]
        differences += [f"{name} gives out numbers again" for name in lost]
        if differences:
            raise CopyFailed(
                f"The copy is not what {self.source.label} holds: {'; '.join(differences)}. Nobody can serve it. Make "
                "sure that no server runs on the source, and begin anew with --restart."
            )
        return [TableCopy(name=name, checksum=pair[0]) for name, pair in pairs.items()]

    async def _load_table(self, table: StoredTable, reached: Reached, told: _Told) -> None:
        told.begin(table, reached.copied)
        async with aclosing(self._chunks(table, reached.position)) as chunks:
            async for rows in chunks:
                reached = await self._store(table, rows, reached)
                told.add(len(rows))
        if table.numbered:
            number = await self.source.read(lambda db: db.last_number(table))
            await self.target.write(lambda db: db.go_on_after(table, number))
        told.end()

    async def _chunks(self, table: StoredTable, after: Row | None) -> AsyncGenerator[list[Row]]:
        """Read the source, one chunk ahead of who writes."""
        coming = asyncio.create_task(self.source.read(next_rows(table, after, self.chunk)))
        try:
            while rows := await coming:
                coming = asyncio.create_task(self.source.read(next_rows(table, table.key_of(rows[-1]), self.chunk)))
                yield rows
        finally:
            await asyncio.wait([coming])

    async def _store(self, table: StoredTable, rows: list[Row], reached: Reached) -> Reached:
        return await self.target.write(lambda db: store(db, table, rows, reached))

    async def _checksums(self, table: StoredTable, told: _Told) -> tuple[Checksum, Checksum]:
        told.begin(table)
        both = [
            asyncio.create_task(checksum_of(side, table, chunk=self.chunk, seen=told.add))
            for side in (self.source, self.target)
        ]
        try:
            mine, copied = await asyncio.gather(*both)
        finally:
            for each in both:
                each.cancel()
            await asyncio.wait(both)
        told.end()
        return mine, copied

    async def _forgets_numbers(self, table: StoredTable) -> bool:
        if not table.once:
            return False
        last, known = [await side.read(lambda db: db.last_number(table)) for side in (self.source, self.target)]
        return known < last

    async def _count(self, table: StoredTable) -> int:
        return (await self.source.read(lambda db: db.estimate(table.name)))[0]


def _difference(name: str, mine: Checksum, copied: Checksum) -> str:
    if mine.rows != copied.rows:
        return f"{name} has {mine.rows:,} rows in the source and {copied.rows:,} in the target"
    return f"{name} has {mine.rows:,} rows in both, and they are not the same"
