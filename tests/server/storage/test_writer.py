from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from turnwise.server.errors import Unavailable
from turnwise.server.storage import writer as writer_module
from turnwise.server.storage.writer import GroupWriter, Job


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")
    return connection


@asynccontextmanager
async def running(
    path: Path, opened: Callable[[Path], sqlite3.Connection] = connect, **settings: int
) -> AsyncGenerator[GroupWriter]:
    writer = GroupWriter(lambda: opened(path), **settings)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.close()


def insert(number: int) -> Job[int]:
    def job(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return job


def numbers(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


class Recorder:
    """A connection's statements, seen through its trace callback; stops the thread before a statement, if asked."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.connection: sqlite3.Connection | None = None

    def __call__(self, path: Path) -> sqlite3.Connection:
        self.connection = connect(path)
        self.connection.set_trace_callback(self.statements.append)
        return self.connection

    def count(self, statement: str) -> int:
        return sum(seen.startswith(statement) for seen in self.statements)


def gate(begun: threading.Event | None = None) -> tuple[threading.Event, Job[None]]:
    """Return a job that holds the writer up until the event is set, and sets `begun` when it does."""
    event = threading.Event()

    def job(connection: sqlite3.Connection) -> None:
        if begun is not None:
            begun.set()
        assert event.wait(60)

    return event, job


async def together(writer: GroupWriter, *jobs: Job[object]) -> list[object]:
    """Run the jobs in one group."""
    begun = threading.Event()
    event, hold = gate(begun)
    held = asyncio.create_task(writer.run(hold))
    assert await asyncio.to_thread(begun.wait, 60)
    tasks = [asyncio.create_task(writer.run(job)) for job in jobs]
    await asyncio.sleep(0)
    event.set()
    await held
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_result_comes_after_the_commit(tmp_path: Path) -> None:
    async with running(tmp_path / "t.db") as writer:
        assert await writer.run(insert(7)) == 7
        assert numbers(tmp_path / "t.db") == [7]


async def test_what_waits_is_committed_together(tmp_path: Path) -> None:
    recorder = Recorder()
    async with running(tmp_path / "t.db", recorder) as writer:
        assert await together(writer, *map(insert, range(20))) == list(range(20))
    assert recorder.count("COMMIT") == 2
    assert recorder.count("SAVEPOINT") == 0


async def test_group_has_a_largest_size(tmp_path: Path) -> None:
    recorder = Recorder()
    async with running(tmp_path / "t.db", recorder, largest_group=8) as writer:
        await together(writer, *map(insert, range(20)))
    assert recorder.count("COMMIT") == 1 + 3


async def test_tickets_are_let_gather_after_a_crowd_and_never_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(writer_module, "time", SimpleNamespace(sleep=naps.append))
    async with running(tmp_path / "t.db") as writer:
        for number in range(5):
            await writer.run(insert(number))
        assert naps == []
        await together(writer, *map(insert, range(10, 20)))
        assert naps == []
        await writer.run(insert(30))
        assert len(naps) == 1
        await writer.run(insert(31))
        assert len(naps) == 1


async def test_one_bad_job_fails_alone(tmp_path: Path) -> None:
    def bad(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (100)")
        connection.execute("INSERT INTO t VALUES (1)")

    async with running(tmp_path / "t.db") as writer:
        outcomes = await together(writer, insert(1), bad, insert(2))
    assert [outcomes[0], outcomes[2]] == [1, 2]
    assert isinstance(outcomes[1], sqlite3.IntegrityError)
    assert numbers(tmp_path / "t.db") == [1, 2]


async def test_refusal_that_wrote_nothing_costs_no_second_run(tmp_path: Path) -> None:
    recorder = Recorder()

    def refuse(connection: sqlite3.Connection) -> None:
        raise LookupError

    async with running(tmp_path / "t.db", recorder) as writer:
        outcomes = await together(writer, insert(1), refuse, insert(2))
    assert isinstance(outcomes[1], LookupError)
    assert recorder.count("INSERT") == 2


async def test_failed_commit_fails_the_whole_group(tmp_path: Path) -> None:
    def deferred(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("CREATE TABLE c (n REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)")
        return connection

    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO c VALUES (99)")

    async with running(tmp_path / "t.db", deferred) as writer:
        outcomes = await together(writer, insert(1), orphan, insert(2))
        assert [type(outcome) for outcome in outcomes] == [sqlite3.IntegrityError] * 3
        assert await writer.run(insert(3)) == 3
    assert numbers(tmp_path / "t.db") == [3]


async def test_writer_goes_on_after_the_database_was_locked_too_long(tmp_path: Path) -> None:
    def impatient(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA busy_timeout = 20")
        return connection

    async with running(tmp_path / "t.db", impatient) as writer:
        with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await writer.run(insert(1))
            other.execute("COMMIT")
        assert await writer.run(insert(2)) == 2
    assert numbers(tmp_path / "t.db") == [2]


async def test_two_writers_of_one_file_wait_for_each_other(tmp_path: Path) -> None:
    async with running(tmp_path / "t.db") as one, running(tmp_path / "t.db") as two:
        await asyncio.gather(
            *(writer.run(insert(n * 2 + w)) for n in range(100) for w, writer in enumerate((one, two)))
        )
    assert numbers(tmp_path / "t.db") == list(range(200))


async def test_close_commits_what_was_accepted_and_refuses_what_comes_later(tmp_path: Path) -> None:
    async with running(tmp_path / "t.db") as writer:
        event, hold = gate()
        tasks = [asyncio.create_task(writer.run(job)) for job in (hold, insert(1), insert(2))]
        await asyncio.sleep(0)
        closing_ = asyncio.create_task(writer.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="closed"):
            await writer.run(insert(3))
        event.set()
        await asyncio.gather(*tasks)
        await closing_
        await writer.close()
    assert numbers(tmp_path / "t.db") == [1, 2]


async def test_start_raises_what_connect_raised(tmp_path: Path) -> None:
    writer = GroupWriter(lambda: connect(tmp_path / "missing" / "t.db"))
    with pytest.raises(sqlite3.OperationalError):
        await writer.start()
    with pytest.raises(Unavailable):
        await writer.run(insert(1))
    await writer.close()


def test_writer_survives_a_loop_that_left_without_waiting(tmp_path: Path) -> None:
    writer = GroupWriter(lambda: connect(tmp_path / "t.db"))
    event, hold = gate()

    async def leave() -> None:
        await writer.start()
        tasks = [asyncio.create_task(writer.run(job)) for job in (hold, insert(1))]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()

    async def come_back() -> int:
        result = await writer.run(insert(2))
        await writer.close()
        return result

    asyncio.run(leave())
    event.set()
    assert asyncio.run(come_back()) == 2
    assert numbers(tmp_path / "t.db") == [1, 2]
