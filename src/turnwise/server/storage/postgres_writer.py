"""One connection writes. What is asked of it while a commit runs becomes the next group, and is committed together.

Messages that are appended alone, the most frequent write, are one statement a group, and where a group is nothing else,
that statement is all there is. Everything else is a job of its own in the same transaction, after the rows that the
group is known to write to were locked in the order that all processes lock them in. Each succeeds or fails by itself:
where one fails, the group is undone and done again with a savepoint each, and where that cannot be either (another
process was in the way), each in a transaction of its own. Nobody hears of success before the commit returned.

Where a statement timed out, for a lock that something else holds for example, whose it was is refused. Where it was one
for all, each is tried once more, alone and without much patience for locks; so are, for a while, those who come next.

Each group has a number, which it notes in `writers` as it is committed. Where the connection is lost at a commit, the
next connection looks there what became of it: so nothing is lost, and nothing done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from turnwise.server.errors import InDoubt, Unavailable
from turnwise.server.ids import new_id
from turnwise.server.storage.jobs.notices import Notice
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_append import Append, append_together, appended_of
from turnwise.server.storage.postgres_connection import LOST, PATIENCE, PAUSE, STEADY, away, numbered
from turnwise.server.storage.postgres_group import (
    TIMED_OUT,
    UNSTORABLE,
    Outcome,
    TakesTooLong,
    Ticket,
    TryApart,
    claimed,
    run_group,
    run_guarded,
    settle,
)
from turnwise.server.storage.sql_database import Job, Written

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["Append", "PostgresWriter"]

T = TypeVar("T")

LARGEST_GROUP: Final = 256

NOWHERE: Final = Written()

TRIES: Final = 5
"""How often a write is tried that others were in the way of."""

HURRY: Final = 0.2
"""Seconds that a write waits for a lock after something was found locked for too long."""

HURRIED: Final = 1.0
"""Seconds that those of a group wait for locks together, once each is done alone."""

SHORTEST: Final = 0.02
"""Seconds that each of them waits at least."""

WARY: Final = 10.0
"""Seconds for which writes hurry."""

GROUPS_A_ROW: Final = 1000
"""Groups that are noted in one row of `writers`. While something old is still read (a backup), PostgreSQL keeps every
version of a row that was written since, and passes over all of them to find the newest."""

LAST_COMMITS: Final = 3.0
"""Seconds for which closing waits for what was accepted."""

_SQL: Final = load("writers", dialect="postgres")
_LAST_GROUP: Final = numbered(_SQL["last_group"])
_NOTE: Final = numbered(_SQL["note"])
_FORGET: Final = numbered(_SQL["forget"])
_END_PREDECESSORS: Final = numbered(_SQL["end_predecessors"])

UNKNOWN: Final = (
    "The connection to the database broke while this was being stored, and it may have been or not. Look before you "
    "repeat it, or repeat it with the same idempotency key."
)


class _Run(Protocol):
    async def __call__(
        self, connection: Connection, group: Sequence[Ticket], /, *, writer: str, number: int
    ) -> Sequence[Outcome]: ...


class _Doubt:
    """A group whose connection was lost at its commit: whether it was committed, the next connection can tell."""

    def __init__(self, number: int, group: Sequence[Ticket], outcomes: Sequence[Outcome] | None) -> None:
        self.number = number
        self.group = group
        self.outcomes = outcomes
        """What became of its tickets if it was; None for appends, which the database is asked about one by one."""


class PostgresWriter:
    """Runs jobs on one connection and commits them in groups."""

    _loop: asyncio.AbstractEventLoop
    """Asking which one runs costs a system call."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        begin: str = "BEGIN",
        pooled: bool = False,
        patience: float = 10.0,
        tell: Callable[[Sequence[Notice]], None] | None = None,
    ) -> None:
        """`pooled` is whether a transaction is all that a connection is kept for.

        `patience` is how many seconds a group that timed out may take to be done again, each of it alone.

        `tell` is given what jobs told other processes, after each commit.
        """
        self._id = new_id()
        self._connect = connect
        self._tell = tell
        self._begin = begin
        self._pooled = pooled
        self._patience = patience
        self._hurry_until = 0.0
        self._waiting: list[Ticket] = []
        self._connection: Connection | None = None
        self._group = 0
        self._noted_in = self._row(0)
        """The row of `writers` that notes groups now; those before it are of no more use."""
        self._doubt: _Doubt | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = True

    async def start(self, connection: Connection) -> None:
        """Begin to write, on this connection first."""
        self._loop = asyncio.get_running_loop()
        await self._adopt(connection)
        self._closed = False

    def run(self, job: Job[T], *, to: Written = NOWHERE) -> asyncio.Future[T]:
        """Return what the job is to return, once it is committed; it raises what the job or the commit raised.

        `to` names rows that it writes, as far as they are known before, so that groups do not wait for each other in
        a circle. An `Append` names its conversation itself.

        A caller that is cancelled stops waiting; the job runs all the same.
        """
        if self._closed:
            raise Unavailable("The database is closed. The server is starting or stopping: try again.", retry_after=1)
        loop = self._loop
        ticket = Ticket(job, loop.create_future(), to, loop.time())
        self._waiting.append(ticket)
        if self._task is None:
            self._task = loop.create_task(self._serve(), name="turnwise-writer")
        return cast("asyncio.Future[T]", ticket.future)

    async def close(self) -> None:
        """Commit what was accepted, where the database answers soon; then close the connection."""
        self._closed = True
        if (task := self._task) is not None:
            _, late = await asyncio.wait([task], timeout=LAST_COMMITS)
            if late:
                await self._drop()
                task.cancel()
                await asyncio.wait([task])
        if self._connection is not None:
            await _closed(self._connection)
            self._connection = None

    async def _serve(self) -> None:
        """Commit group after group until nothing waits."""
        group: list[Ticket] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
                await self._commit(group)
        except BaseException as error:
            group, self._waiting = [*group, *self._waiting], []
            for ticket in group:
                settle(Outcome(ticket, error=error))
            raise
        finally:
            self._task = None

    async def _commit(self, group: Sequence[Ticket]) -> None:
        """Commit a group; tries again what certainly was not committed while the connection is lost."""
        while waiting := [ticket for ticket in group if not ticket.ended]:
            try:
                connection = await self._connected()
                await self._store(connection, [ticket for ticket in waiting if not ticket.ended])
                await self._forget_row(connection)
            except LOST as error:
                await self._drop()
                self._give_up(waiting, error)
                await asyncio.sleep(PAUSE)
            except Exception as error:  # noqa: BLE001 - each waiting caller gets it
                for ticket in waiting:
                    settle(Outcome(ticket, error=error))

    async def _store(self, connection: Connection, group: Sequence[Ticket]) -> None:
        """Commit a group together, or each of it apart."""
        ways: Sequence[_Run] = (run_group, run_guarded)
        hurry = HURRY if self._loop.time() < self._hurry_until else None
        try:
            if not (self._pooled or hurry) and all(isinstance(ticket.job, Append) for ticket in group):
                group = await self._append(connection, group)
                ways = (run_guarded,)
            for run in ways:
                if not group or await self._committed(connection, group, run, lock=hurry):
                    return
            for ticket in group:
                await self._alone(connection, ticket)
        except TakesTooLong as late:
            await self._hurry(connection, [ticket for ticket in group if not ticket.ended], late)

    async def _hurry(self, connection: Connection, group: Sequence[Ticket], late: TakesTooLong) -> None:
        """Refuse who timed out, and try the others once more, each alone; refuse whom that would keep for too long."""
        loop = self._loop
        until = loop.time() + self._patience
        self._hurry_until = loop.time() + WARY
        lock = max(SHORTEST, min(HURRY, HURRIED / max(1, len(group))))
        for ticket in group:
            if ticket is late.ticket or len(group) == 1 or loop.time() > until:
                settle(Outcome(ticket, error=late.error))
                continue
            try:
                await self._alone(connection, ticket, lock=lock)
            except TakesTooLong as again:
                settle(Outcome(ticket, error=again.error))

    async def _append(self, connection: Connection, group: Sequence[Ticket]) -> Sequence[Ticket]:
        """Commit a group of appends with one statement; return what is to be done apart."""
        number = self._number()
        appends = cast("Sequence[Append]", [ticket.job for ticket in group])
        try:
            refused = await append_together(connection, appends, writer=self._row(number), number=number)
        except LOST:
            self._doubt = _Doubt(number, group, None)
            raise
        except TIMED_OUT as error:
            raise TakesTooLong(error) from error
        except UNSTORABLE:
            return group
        return self._appended(group, refused)

    async def _alone(self, connection: Connection, ticket: Ticket, *, lock: float | None = None) -> None:
        """Commit one ticket in a transaction of its own, as often as others get in its way."""
        for _ in range(TRIES):
            if await self._committed(connection, [ticket], run_guarded, lock=lock):
                return
        busy = Unavailable("Others kept writing to what this writes to. Try again.", retry_after=1)
        settle(Outcome(ticket, error=busy))

    async def _committed(
        self, connection: Connection, group: Sequence[Ticket], run: _Run, *, lock: float | None
    ) -> bool:
        """Run a group and commit it; tell whether it was, or is to be done apart.

        `lock` is how many seconds it waits for a lock, unless for as long as ever.
        """
        number = self._number()
        begin = self._begin if lock is None else f"{self._begin}; SET LOCAL lock_timeout = {int(lock * 1000)}"
        try:
            await connection.execute(f"{begin}; {self._note(number)}")
            outcomes = await run(connection, group, writer=self._row(number), number=number)
        except LOST:
            raise
        except BaseException as error:
            await connection.execute("ROLLBACK")
            if isinstance(error, TryApart):
                return False
            raise
        try:
            await connection.execute("COMMIT")
        except LOST:
            self._doubt = _Doubt(number, group, outcomes)
            raise
        self._end(outcomes)
        return True

    def _appended(self, group: Sequence[Ticket], refused: Collection[Append]) -> Sequence[Ticket]:
        """Settle those that were appended; return the others."""
        rest: list[Ticket] = []
        for ticket in group:
            if ticket.job in refused:
                rest.append(ticket)
            elif (future := claimed(ticket)) is not None:
                future.set_result(None)
        return rest

    def _end(self, outcomes: Sequence[Outcome]) -> None:
        """Tell everybody what was committed."""
        if self._tell is not None:
            self._tell([notice for outcome in outcomes for notice in outcome.told])
        for outcome in outcomes:
            settle(outcome)

    def _give_up(self, group: Sequence[Ticket], error: BaseException) -> None:
        """Refuse those that waited long enough, or all at the close; of what was being committed last nobody knows."""
        now = self._loop.time()
        for ticket in group:
            if self._closed or ticket.since + PATIENCE < now:
                unknown = self._doubt is not None and ticket in self._doubt.group
                settle(Outcome(ticket, error=InDoubt(UNKNOWN, retry_after=1) if unknown else away(error)))

    def _note(self, number: int) -> str:
        """Return what notes that a group of this number was committed; it is sent along with BEGIN, without values."""
        return _NOTE.replace("$1", f"'{self._row(number)}'").replace("$2", str(number))

    def _number(self) -> int:
        self._group += 1
        return self._group

    def _row(self, number: int) -> str:
        """Return the row of `writers` that notes a group of this number."""
        return f"{self._id}-{number // GROUPS_A_ROW}"

    async def _forget_row(self, connection: Connection) -> None:
        """Remove the row that noted groups before the one that does now."""
        if (row := self._row(self._group)) != self._noted_in:
            forget = _FORGET.replace("$1", f"'{self._noted_in}'")  # without values: a pooler would part them from it
            await connection.execute(forget)
            self._noted_in = row

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            await self._adopt(await self._connect())
        assert self._connection is not None  # noqa: S101 - _adopt has just set it
        return self._connection

    async def _adopt(self, connection: Connection) -> None:
        """Write on this connection from now on; end the one before, and see what became of what it was committing."""
        self._connection = connection
        _send_at_once(connection)
        if not self._pooled:
            name = f"turnwise {self._id}"
            await connection.execute(f"SET application_name = '{name}'; {STEADY}")
            await connection.execute(_END_PREDECESSORS.replace("$1", f"'{name}'"))
        async with connection.transaction():
            await self._resolve(connection)

    async def _resolve(self, connection: Connection) -> None:
        """See what became of the group that the connection before was committing."""
        try:
            last = await connection.fetchval(_LAST_GROUP, self._row(self._doubt.number if self._doubt else self._group))
        except TIMED_OUT as error:
            raise OSError("what was written last is still under way") from error
        if self._doubt is not None and self._doubt.number == last:
            await self._believe(connection, self._doubt)
        self._doubt = None

    async def _believe(self, connection: Connection, doubt: _Doubt) -> None:
        """Settle a group that was committed as it turned out."""
        if doubt.outcomes is not None:
            self._end(doubt.outcomes)
        else:
            appends = cast("Sequence[Append]", [ticket.job for ticket in doubt.group])
            done = set(await appended_of(connection, appends))
            self._appended(doubt.group, [append for append in appends if append not in done])

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _send_at_once(connection: Connection) -> None:
    """Let a statement go out when it is executed; uvloop would keep it until the loop has run everything else.

    asyncpg has no name for its transport that is meant for others.
    """
    transport = getattr(connection, "_transport", None)
    if transport is not None:
        transport.set_write_buffer_limits(high=0)


async def _closed(connection: Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (*LOST, TimeoutError):
        connection.terminate()
