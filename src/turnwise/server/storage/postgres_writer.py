"""One connection writes. What is asked of it while a commit runs becomes the next group, and is committed together.

Messages that are appended alone, the most frequent write, go in as one statement a group; everything else is a job of
its own in the same transaction. Each succeeds or fails by itself: where one fails, the group is undone and done again
with a savepoint each, and where that cannot be either (another process was in the way), each in a transaction of its
own. Nobody hears of success before the commit returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

import asyncpg

from turnwise.server.errors import Unavailable
from turnwise.server.storage.jobs.messages import add_messages
from turnwise.server.storage.jobs.notices import Notice
from turnwise.server.storage.jobs.rows import Database, packed_meta, whole
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_connection import (
    LOST,
    PATIENCE,
    PAUSE,
    JobConnection,
    numbered,
    run_job,
    stored_text,
)
from turnwise.server.storage.sql_database import Job
from turnwise.types.message import Message

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["Append", "PostgresWriter"]

T = TypeVar("T")

LARGEST_GROUP: Final = 256

TRIES: Final = 5
"""How often a write is tried that others were in the way of."""

_IN_THE_WAY: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)

_APPEND: Final = numbered(load("messages", dialect="postgres")["append"])


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """Messages that a conversation gets, and nothing else."""

    account_id: str
    conversation_id: str
    messages: Sequence[Message]
    now: int

    def __call__(self, db: Database) -> None:
        """Append them as any job would."""
        add_messages(db, self.account_id, self.conversation_id, self.messages, used=(), once=None, now=self.now)


@dataclass(slots=True, eq=False)
class Ticket:
    """A job, and where its outcome is awaited."""

    job: Job[object]
    future: asyncio.Future[object]
    to: str


@dataclass(slots=True)
class Outcome:
    """What became of a ticket's job."""

    ticket: Ticket
    result: object = None
    error: BaseException | None = None
    told: Sequence[Notice] = ()
    """What other processes are told once it is committed."""


class _TryApart(Exception):
    """A group must be done again, each of it by itself."""


class _AtCommit(Exception):
    """The connection was lost while a transaction was being committed: whether it was, nobody knows."""


class PostgresWriter:
    """Runs jobs on one connection and commits them in groups."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        begin: str = "BEGIN",
        tell: Callable[[Sequence[Notice]], None] | None = None,
    ) -> None:
        """`tell` is given what jobs told other processes, after each commit."""
        self._connect = connect
        self._tell = tell
        self._begin = begin
        self._waiting: list[Ticket] = []
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = True

    def start(self, connection: Connection) -> None:
        """Begin to write, on this connection first."""
        self._connection = connection
        self._closed = False

    async def run(self, job: Job[T], *, to: str = "") -> T:
        """Return what the job returned, once it is committed; raise what it or the commit raised.

        Jobs of a group are run in the order of what they write `to`, so that two groups do not wait for each other.

        A caller that is cancelled stops waiting; the job runs all the same.
        """
        if self._closed:
            raise Unavailable("The database is closed. The server is starting or stopping: try again.", retry_after=1)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(Ticket(job, future, to))
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name="turnwise-writer")
        return cast("T", await future)

    async def close(self) -> None:
        """Commit what was accepted, then close the connection."""
        self._closed = True
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._connection is not None:
            await _closed(self._connection)
            self._connection = None

    async def _serve(self) -> None:
        """Commit group after group until nothing waits."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
                group.sort(key=lambda ticket: ticket.to)
                try:
                    outcomes = await self._commit(group)
                except Exception as error:  # noqa: BLE001 - each waiting caller gets it
                    outcomes = [Outcome(ticket, error=error) for ticket in group]
                except BaseException as error:
                    group, self._waiting = [*group, *self._waiting], []
                    for ticket in group:
                        _settle(Outcome(ticket, error=error))
                    raise
                for outcome in outcomes:
                    _settle(outcome)
        finally:
            self._task = None

    async def _commit(self, group: Sequence[Ticket]) -> Sequence[Outcome]:
        """Commit a group; tries again while the connection is lost before the commit was asked for."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                return await self._commit_somehow(await self._connected(), group)
            except _AtCommit as error:
                await self._drop()
                raise Unavailable(
                    "The connection to the database broke while this was being stored, and it may have been or not. "
                    "Look before you repeat it, or repeat it with the same idempotency key.",
                    retry_after=1,
                ) from error
            except LOST as error:
                await self._drop()
                if loop.time() > deadline:
                    raise Unavailable(f"The database is away: {error}. Try again.", retry_after=1) from error
                await asyncio.sleep(PAUSE)

    async def _commit_somehow(self, connection: Connection, group: Sequence[Ticket]) -> Sequence[Outcome]:
        for run in (_run_group, _run_guarded):
            try:
                return await self._transaction(connection, group, run)
            except _TryApart:
                continue
        outcomes: list[Outcome] = []
        for ticket in group:
            outcomes += await self._alone(connection, ticket)
        return outcomes

    async def _alone(self, connection: Connection, ticket: Ticket) -> Sequence[Outcome]:
        """Commit one ticket in a transaction of its own, as often as others get in its way."""
        for _ in range(TRIES):
            try:
                return await self._transaction(connection, [ticket], _run_guarded)
            except _TryApart:
                continue
        busy = Unavailable("Others kept writing to what this writes to. Try again.", retry_after=1)
        return [Outcome(ticket, error=busy)]

    async def _transaction(self, connection: Connection, group: Sequence[Ticket], run: _Run) -> Sequence[Outcome]:
        await connection.execute(self._begin)
        try:
            outcomes = await run(connection, group)
        except BaseException:
            if not connection.is_closed():
                await connection.execute("ROLLBACK")
            raise
        try:
            await connection.execute("COMMIT")
        except LOST as error:
            raise _AtCommit from error
        if self._tell is not None:
            self._tell([notice for outcome in outcomes for notice in outcome.told])
        return outcomes

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


_Run = Callable[["Connection", Sequence[Ticket]], Awaitable[Sequence[Outcome]]]


async def _run_group(connection: Connection, group: Sequence[Ticket]) -> Sequence[Outcome]:
    """Run a group without savepoints; raise `_TryApart` where something failed that had written already."""
    appended = await _append(connection, [ticket for ticket in group if isinstance(ticket.job, Append)])
    outcomes = [Outcome(ticket) for ticket in appended]
    database = JobConnection(connection, writing=True)
    for ticket in group:
        if ticket in appended:
            continue
        before = database.written
        try:
            outcomes.append(Outcome(ticket, await run_job(ticket.job, database), told=database.told()))
        except LOST:
            raise
        except (asyncpg.PostgresError, asyncpg.DataError) as error:
            raise _TryApart from error
        except Exception as error:
            if database.written != before:
                raise _TryApart from error
            database.told()
            outcomes.append(Outcome(ticket, error=error))
    return outcomes


async def _run_guarded(connection: Connection, group: Sequence[Ticket]) -> Sequence[Outcome]:
    """Run a group with a savepoint each; what a failing one had written is undone."""
    database = JobConnection(connection, writing=True)
    outcomes: list[Outcome] = []
    for ticket in group:
        await connection.execute("SAVEPOINT job")
        try:
            outcomes.append(Outcome(ticket, await run_job(ticket.job, database), told=database.told()))
        except _IN_THE_WAY as error:
            raise _TryApart from error
        except LOST:
            raise
        except Exception as error:  # noqa: BLE001 - its caller gets it
            await connection.execute("ROLLBACK TO SAVEPOINT job")
            database.told()
            outcomes.append(Outcome(ticket, error=error))
        await connection.execute("RELEASE SAVEPOINT job")
    return outcomes


async def _append(connection: Connection, tickets: Sequence[Ticket]) -> set[Ticket]:
    """Append the messages of many in one statement; return whose conversation was there, and theirs."""
    if len(tickets) == 0:
        return set()
    appends = [(ticket, cast("Append", ticket.job)) for ticket in tickets]
    rows = [
        (
            append.conversation_id,
            append.account_id,
            message.id,
            message.type,
            whole(message.created_at),
            whole(message.updated_at),
            message.name,
            message.description,
            packed_meta(message.meta),
            message.text,
        )
        for _, append in appends
        for message in append.messages
    ]
    columns = [
        [stored_text(value) if isinstance(value, str) else value for value in column]
        for column in zip(*rows, strict=True)
    ]
    now = min(append.now for _, append in appends)
    try:
        found = {(id_, account) for id_, account in await connection.fetch(_APPEND, *columns, now)}
    except LOST:
        raise
    except (asyncpg.PostgresError, asyncpg.DataError) as error:
        raise _TryApart from error
    return {ticket for ticket, append in appends if (append.conversation_id, append.account_id) in found}


def _settle(outcome: Outcome) -> None:
    future = outcome.ticket.future
    if future.done():
        return
    if outcome.error is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.error)


async def _closed(connection: Connection) -> None:
    try:
        await connection.close(timeout=5)
    except (*LOST, TimeoutError):
        connection.terminate()
