"""A group of jobs that are run in one transaction, each of which succeeds or fails by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec

from turnwise.server.storage.jobs.notices import Notice
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres_append import Append, append_together
from turnwise.server.storage.postgres_connection import LOST, JobConnection, numbered, run_job, stored_text
from turnwise.server.storage.sql_database import Job, Written

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = [
    "IN_THE_WAY",
    "TIMED_OUT",
    "UNSTORABLE",
    "Outcome",
    "TakesTooLong",
    "Ticket",
    "TryApart",
    "claimed",
    "run_group",
    "run_guarded",
    "settle",
]

IN_THE_WAY: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

TIMED_OUT: Final = (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)
"""A statement took too long, or what it waited for was locked for too long."""

UNSTORABLE: Final = (asyncpg.PostgresError, UnicodeError, OverflowError)
"""Something of many cannot be stored: each is to be tried by itself."""

_LOCK: Final = numbered(load("writers", dialect="postgres")["lock"])


class Ticket(msgspec.Struct, eq=False):
    """A job, and where its outcome is awaited."""

    job: Job[object]
    future: asyncio.Future[object]
    to: Written
    since: float
    """When it came, by the loop's clock."""
    ended: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a ticket's job."""

    ticket: Ticket
    result: object = None
    error: BaseException | None = None
    told: Sequence[Notice] = ()
    """What other processes are told once it is committed."""


class TryApart(Exception):
    """A group must be done again, each of it by itself."""


class TakesTooLong(Exception):
    """A statement of a group timed out: that of one ticket, or one for all."""

    def __init__(self, error: Exception, ticket: Ticket | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.ticket = ticket


def claimed(ticket: Ticket) -> asyncio.Future[object] | None:
    """End a ticket; return where its outcome is awaited, `None` where it has one or nobody waits any more."""
    if ticket.ended:
        return None
    ticket.ended = True
    return None if ticket.future.done() else ticket.future


def settle(outcome: Outcome) -> None:
    """Hand an outcome to who waits for it; a ticket's first one counts."""
    future = claimed(outcome.ticket)
    if future is None:
        return
    if outcome.error is None:
        future.set_result(outcome.result)
    else:
        future.set_exception(outcome.error)


async def run_group(connection: Connection, group: Sequence[Ticket], *, writer: str, number: int) -> Sequence[Outcome]:
    """Run a group without savepoints; raise `TryApart` where something failed that had written already."""
    await _lock(connection, group)
    appended = await _append(connection, group, writer=writer, number=number)
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
        except TIMED_OUT as error:
            raise TakesTooLong(error, ticket) from error
        except (asyncpg.PostgresError, asyncpg.DataError) as error:
            raise TryApart from error
        except Exception as error:
            if database.written != before:
                raise TryApart from error
            database.told()
            outcomes.append(Outcome(ticket, error=error))
    return outcomes


async def run_guarded(
    connection: Connection,
    group: Sequence[Ticket],
    *,
    writer: str,  # noqa: ARG001 - takes the place of run_group
    number: int,  # noqa: ARG001
) -> Sequence[Outcome]:
    """Run a group with a savepoint each; what a failing one had written is undone."""
    await _lock(connection, group)
    database = JobConnection(connection, writing=True)
    outcomes: list[Outcome] = []
    for ticket in group:
        await connection.execute("SAVEPOINT job")
        try:
            outcomes.append(Outcome(ticket, await run_job(ticket.job, database), told=database.told()))
        except IN_THE_WAY as error:
            raise TryApart from error
        except LOST:
            raise
        except TIMED_OUT as error:
            raise TakesTooLong(error, ticket) from error
        except Exception as error:  # noqa: BLE001 - its caller gets it
            await connection.execute("ROLLBACK TO SAVEPOINT job")
            database.told()
            outcomes.append(Outcome(ticket, error=error))
        await connection.execute("RELEASE SAVEPOINT job")
    return outcomes


async def _lock(connection: Connection, group: Sequence[Ticket]) -> None:
    """Lock the rows that a group is known to write to: conversations first, then turns, then channels, each by name.

    A job that is alone, and writes to one conversation or channel, locks it by itself.
    """
    if len(group) == 1 and not group[0].to.turns and len(group[0].to.channels) <= 1:
        return
    conversations = {stored_text(id_) for ticket in group if (id_ := _conversation(ticket))}
    turns = {stored_text(turn) for ticket in group for turn in ticket.to.turns}
    channels = sorted({channel for ticket in group for channel in ticket.to.channels})
    if not (conversations or turns or channels):
        return
    columns = [[stored_text(place[part]) for place in channels] for part in (0, 1)]
    try:
        await connection.fetch(_LOCK, list(conversations), list(turns), *columns)
    except IN_THE_WAY as error:
        raise TryApart from error
    except TIMED_OUT as error:
        raise TakesTooLong(error) from error


def _conversation(ticket: Ticket) -> str:
    return ticket.job.conversation_id if isinstance(ticket.job, Append) else ticket.to.conversation


async def _append(connection: Connection, group: Sequence[Ticket], *, writer: str, number: int) -> set[Ticket]:
    """Append the messages of many in one statement; return whose conversation was there, and theirs."""
    tickets = {ticket.job: ticket for ticket in group if isinstance(ticket.job, Append)}
    if not tickets:
        return set()
    try:
        refused = await append_together(connection, list(tickets), writer=writer, number=number)
    except LOST:
        raise
    except TIMED_OUT as error:
        raise TakesTooLong(error) from error
    except UNSTORABLE as error:
        raise TryApart from error
    return set(tickets.values()) - {tickets[append] for append in refused}
