"""One thread writes. What is asked of it while a commit runs becomes the next group, and is committed together.

A commit to disk costs the same for one write as for a hundred, so under load its cost is shared; alone, a write
waits for nobody. Each job of a group succeeds or fails by itself. Nobody hears of success before the commit
returned.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, TypeVar, cast

from turnwise.server.errors import Unavailable

__all__ = ["Connect", "GroupWriter", "Job", "Outcome", "Ticket", "deliver"]

T = TypeVar("T")

Job = Callable[[sqlite3.Connection], T]
"""Reads and writes through the connection it is given, inside a transaction it neither begins nor ends.

It may be called a second time, after everything its first call did was undone.
"""

Connect = Callable[[], sqlite3.Connection]

LARGEST_GROUP: Final = 256

CROWD: Final = 4
"""After a group of so many, the next one is let gather before it is begun."""

NAP: Final = 0.001
"""Seconds between two looks at what gathered."""

NAPS: Final = 4


@dataclass(slots=True, eq=False)
class Ticket:
    """A job, and where its outcome is awaited."""

    job: Job[object]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[object]


@dataclass(slots=True)
class Outcome:
    """What became of a ticket's job."""

    ticket: Ticket
    result: object = None
    error: BaseException | None = None


class GroupWriter:
    """Runs jobs on one connection, in the order they came, and commits them in groups."""

    def __init__(self, connect: Connect, *, largest_group: int = LARGEST_GROUP) -> None:
        self._connect = connect
        self._largest_group = largest_group
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._crowded = False
        self._closed = True

    async def start(self) -> None:
        """Start the thread, and connect in it; raises what `connect` raised."""
        connected: Future[None] = Future()
        self._ended = Future()
        self._thread = threading.Thread(target=self._serve, args=(connected,), name="turnwise-writer", daemon=True)
        self._thread.start()
        await asyncio.shield(asyncio.wrap_future(connected))
        self._closed = False

    async def run(self, job: Job[T]) -> T:
        """Return what the job returned, once it is committed; raise what it or the commit raised.

        A caller that is cancelled stops waiting; the job runs all the same.
        """
        if self._closed:
            raise Unavailable("The database is closed. The server is starting or stopping: try again.", retry_after=1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._queue.put(Ticket(job, loop, future))
        return cast("T", await future)

    async def close(self) -> None:
        """Commit what was accepted, then close the connection."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.shield(asyncio.wrap_future(self._ended))
            thread.join()

    def _serve(self, connected: Future[None]) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - raised again, by start()
            connected.set_exception(error)
        else:
            connected.set_result(None)
            with closing(connection):
                while group := self._next_group():
                    self._handle(connection, group)
        finally:
            self._ended.set_result(None)

    def _next_group(self) -> list[Ticket]:
        """Wait for a ticket and take all that wait behind it; an empty group is the end."""
        group: list[Ticket] = []
        ticket = self._queue.get()
        if self._crowded:
            self._let_gather()
        while ticket is not None:
            group.append(ticket)
            if len(group) == self._largest_group or self._queue.empty():
                break
            ticket = self._queue.get()
        else:
            if group:
                self._queue.put(None)
        self._crowded = len(group) >= CROWD
        return group

    def _let_gather(self) -> None:
        """Sleep while more tickets come, for a few milliseconds at most.

        Where the event loop is busy, tickets come one by one, and a commit for each few of them would take the time
        in which the loop could have brought more.
        """
        waiting = self._queue.qsize()
        for _ in range(NAPS):
            time.sleep(NAP)
            came = self._queue.qsize() - waiting
            if not came:
                return
            waiting += came

    def _handle(self, connection: sqlite3.Connection, group: Sequence[Ticket]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = _run_group(connection, group)
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - each waiting caller gets it
            _undo(connection)
            outcomes = [Outcome(ticket, error=error) for ticket in group]
        deliver(outcomes)


def _run_group(connection: sqlite3.Connection, group: Sequence[Ticket]) -> list[Outcome]:
    """Run the jobs of a group; whatever a failing one had written is undone.

    Savepoints copy each page they might have to restore, and failures are rare: so the jobs run without, and only
    where one failed that had written already, everything is undone and run again with a savepoint each. A full disk or
    a failing one ends the whole transaction, and everybody in it hears so.
    """
    outcomes: list[Outcome] = []
    for ticket in group:
        before = connection.total_changes
        try:
            outcomes.append(Outcome(ticket, ticket.job(connection)))
        except Exception as error:
            if not connection.in_transaction:
                raise
            if connection.total_changes != before:
                return _run_guarded(connection, group)
            outcomes.append(Outcome(ticket, error=error))
    return outcomes


def _run_guarded(connection: sqlite3.Connection, group: Sequence[Ticket]) -> list[Outcome]:
    _undo(connection)
    connection.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    for ticket in group:
        connection.execute("SAVEPOINT job")
        try:
            outcomes.append(Outcome(ticket, ticket.job(connection)))
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            outcomes.append(Outcome(ticket, error=error))
        connection.execute("RELEASE job")
    return outcomes


def _undo(connection: sqlite3.Connection) -> None:
    """Roll back; where SQLite did so by itself, or cannot, the next transaction's beginning tells."""
    with suppress(sqlite3.Error):
        connection.execute("ROLLBACK")


def deliver(outcomes: Sequence[Outcome]) -> None:
    """Hand outcomes to those who wait, with one call into each event loop."""
    loops: defaultdict[asyncio.AbstractEventLoop, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        loops[outcome.ticket.loop].append(outcome)
    for loop, those in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, those)
        except RuntimeError:  # the loop was closed: nobody waits any more
            continue


def _settle(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        future = outcome.ticket.future
        if future.done():
            continue
        if outcome.error is None:
            future.set_result(outcome.result)
        else:
            future.set_exception(outcome.error)
