"""Jobs on a PostgreSQL connection.

Jobs are plain functions over a `Database`. Here each runs in a greenlet of its own: where it executes a statement, the
event loop goes on until the answer is there. Their SQL is SQLite's; what PostgreSQL says differently, and which rows a
writing job locks as it reads them, stands in `sql/postgres_*.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import asyncpg
from greenlet import getcurrent, greenlet

from turnwise.server.errors import Unavailable
from turnwise.server.storage.jobs.notices import Notice, Teller
from turnwise.server.storage.jobs.rows import Value
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.sql_database import Job

__all__ = [
    "ESCAPE",
    "LOST",
    "PATIENCE",
    "PAUSE",
    "STEADY",
    "Connection",
    "JobConnection",
    "away",
    "numbered",
    "original",
    "run_job",
    "stored_text",
    "waited",
]

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")

LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
)
"""What says that a connection is of no more use: one to what is only a standby now too, and a timeout of this side."""

STEADY: Final = """
    SET plan_cache_mode = force_generic_plan; SET seq_page_cost = 100; SET random_page_cost = 1.1;
    SET max_parallel_workers_per_gather = 0
"""
"""Statements of jobs find a few rows by keys: each is planned once, whatever the tables hold then, or how little.

A plan for all values takes a page for a tenth of what there is. Parallel workers would pay for that, and starting them
costs more than the page.
"""

PATIENCE: Final = 3.0
"""Seconds for which is tried again, while the server is away, what nothing came of yet."""

PAUSE: Final = 0.1
"""Seconds between two such tries."""

NOUNS: Final = (
    "accounts",
    "conversations",
    "messages",
    "idempotency",
    "upkeep",
    "journal",
    "channels",
    "deployment",
    "rates",
    "waits",
)

_PLACEHOLDER: Final = re.compile(r"\?(\d*)")

ESCAPE: Final = "\ufdd0"
"""PostgreSQL stores no NUL. It is written as this noncharacter and a 0, the noncharacter itself as it and a 1."""


def away(error: BaseException) -> Unavailable:
    """Return the refusal of what could not be done because connections were lost, or not to be had."""
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return Unavailable(
            f"PostgreSQL has no connection left ({error}). Try again; where it happens often, lower `pool_size` in the "
            "database's URL, raise PostgreSQL's max_connections, or put PgBouncer in between.",
            retry_after=1,
        )
    return Unavailable(f"The database is away: {str(error) or type(error).__name__}. Try again.", retry_after=1)


@dataclass(slots=True)
class Rows:
    """What a statement found and did."""

    rowcount: int
    rows: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    read: int = 0

    def fetchone(self) -> Any:  # noqa: ANN401 - its statement knows what a row holds
        """Return the next row, or None."""
        if self.read == len(self.rows):
            return None
        self.read += 1
        return self.rows[self.read - 1]

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        rest, self.read = self.rows[self.read :], len(self.rows)
        return rest

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class JobConnection(Teller):
    """The database a job sees."""

    def __init__(self, connection: Connection, *, writing: bool) -> None:
        self._connection = connection
        self._statements = _translated(writing=writing)
        self.written = 0
        """Rows that were written through it."""
        self._told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        """Tell other processes once the transaction is committed."""
        self._told.append(notice)

    def told(self) -> list[Notice]:
        """Return what was told since this was asked last."""
        told, self._told = self._told, []
        return told

    def execute(self, statement: str, values: Sequence[Value] = (), /) -> Rows:
        """Execute a statement of the jobs'."""
        text = self._statements.get(statement) or numbered(statement)
        arguments = [stored_text(value) if type(value) is str else value for value in values]
        if text.startswith("SELECT") or "RETURNING" in text:
            found = waited(self._connection.fetch(text, *arguments))
            rows = [original(row) for row in found]
            if not text.startswith("SELECT"):
                self.written += len(rows)
            return Rows(len(rows), rows)
        count = _count(waited(self._connection.execute(text, *arguments)))
        self.written += count
        return Rows(count)

    def executemany(self, statement: str, rows: Sequence[Sequence[Value]], /) -> None:
        """Execute a statement for each row, in one round trip."""
        if not rows:
            return
        text = self._statements.get(statement) or numbered(statement)
        arguments = [[stored_text(value) if type(value) is str else value for value in row] for row in rows]
        waited(self._connection.executemany(text, arguments))
        self.written += len(rows)


async def run_job(job: Job[T], database: JobConnection) -> T:
    """Return what the job returned; await what it waits for."""
    running = greenlet(job)
    result: Any = running.switch(database)
    while not running.dead:
        try:
            answer = await result
        except BaseException as error:  # noqa: BLE001 - the job hears of it where it waits
            result = running.throw(error)
        else:
            result = running.switch(answer)
    return cast("T", result)


@cache
def numbered(statement: str) -> str:
    """Return a statement with PostgreSQL's placeholders, without SQLite's hint on the order of a join."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${match[1] or count}"

    return _PLACEHOLDER.sub(number, statement).replace("CROSS JOIN", "JOIN")


def stored_text(text: str) -> str:
    """Return a text as PostgreSQL can store it."""
    if "\0" in text or ESCAPE in text:
        return text.replace(ESCAPE, ESCAPE + "1").replace("\0", ESCAPE + "0")
    return text


@cache
def _translated(*, writing: bool) -> Mapping[str, str]:
    """Return PostgreSQL's statements by SQLite's."""
    found: dict[str, str] = {}
    for noun in NOUNS:
        ours = load(noun, dialect="postgres")
        for name, statement in load(noun).items():
            text = ours.get(f"{name}_writing" if writing else name) or ours[name]
            found[statement] = numbered(text)
    return found


def waited(answer: Awaitable[T]) -> T:
    """Return what a job has to wait for."""
    parent = getcurrent().parent
    assert parent is not None, "a statement was executed outside of a job"  # noqa: S101 - a mistake of ours
    return cast("T", parent.switch(answer))


def original(row: asyncpg.Record) -> tuple[Any, ...]:
    """Return what a row holds, its texts as they were before `stored_text`."""
    values = tuple(row.values())
    if any(type(value) is str and ESCAPE in value for value in values):
        return tuple(_original(value) if type(value) is str else value for value in values)
    return values


def _original(text: str) -> str:
    return text.replace(ESCAPE + "0", "\0").replace(ESCAPE + "1", ESCAPE)


def _count(status: str) -> int:
    """Return the number of rows in a command's tag, such as `INSERT 0 1`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0
