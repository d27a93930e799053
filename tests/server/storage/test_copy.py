from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import conversation, message, new_turn
from tests.server.storage.versions import Anywhere, OnPostgres, OnSqlite, contents, fill, tables_of

from turnwise.server.errors import Unavailable
from turnwise.server.storage.base import Account, MessageQuery
from turnwise.server.storage.database import SCHEMA_VERSION
from turnwise.server.storage.deployment.copy import Advance, CopyFailed, CopyOptions, TableCopy, copy_deployment
from turnwise.server.storage.deployment.database import Chunk, next_rows
from turnwise.server.storage.deployment.open import deployment_at
from turnwise.server.storage.deployment.status import status_of
from turnwise.server.storage.deployment.tables import copied_tables
from turnwise.server.storage.open import storage_at
from turnwise.server.storage.postgres_connection import stored_text

STAYS = {"processes", "rates", "writers"}

NASTY = (
    "",
    "\0",
    "a\0b\0",
    "\ufdd0",
    "\ufdd00",
    "\ufdd0\0\ufdd01",
    "\uffff",
    "\U00010000",
    "'\"\\;--\r\n\t",
    "e\u0301",
    "é",
    "x" * 70_000,
)
"""Texts that are kept differently, sorted differently, or look like something else."""

Make = Callable[[str], Anywhere]


class Stopped(Exception):
    """The copy is interrupted here."""


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return what makes an empty database of a kind."""
    numbers = count()

    def made(kind: str) -> Anywhere:
        if kind == "sqlite":
            return OnSqlite(tmp_path / f"{next(numbers)}.db")
        server: PostgresServer = request.getfixturevalue("postgres")
        return OnPostgres(server.database())

    return made


PAIRS = [(source, target) for source in ("sqlite", "postgres") for target in ("sqlite", "postgres")]
every_pair = pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
both = pytest.mark.parametrize("kind", ["sqlite", "postgres"])


def filled(database: Anywhere) -> Anywhere:
    """Put something into every table, and all that is hard to copy."""
    database.upgrade("head")
    fill(database)
    write = stored_text if isinstance(database, OnPostgres) else str
    for number, text in enumerate(NASTY, start=3):
        said = (7, number, f"m{number}", "user", number, number, write(text))
        database.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL, ?)", *said)
        if len(text) < 100:
            term = ("me", "meta.nasty", write(text), 2**63 - 1, "c", 1)
            database.execute("INSERT INTO conversation_terms VALUES (?, ?, ?, ?, ?, ?)", *term)
    return database


def stored(database: Anywhere) -> Mapping[str, Sequence[Mapping[str, object]]]:
    """Return what goes along when a database is copied, its texts as PostgreSQL keeps them."""
    write = stored_text if isinstance(database, OnSqlite) else str
    return {
        table: sorted(
            ({name: write(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows),
            key=json_key,
        )
        for table, rows in contents(database).items()
        if table not in STAYS
    }


def json_key(row: Mapping[str, object]) -> str:
    """Sort rows alike, whether a database says 1 or True."""
    return repr([int(value) if isinstance(value, bool) else value for value in row.values()])


async def copied(
    source: Anywhere,
    target: Anywhere,
    *,
    rows: int = 2,
    size: int = 4_000_000,
    report: Callable[[Advance], None] = lambda _: None,
    running: bool = False,
    restart: bool = False,
) -> Sequence[TableCopy]:
    options = CopyOptions(chunk=Chunk(rows=rows, size=size), running=running, restart=restart)
    async with deployment_at(source.url) as old, deployment_at(target.url, absent=True) as new:
        return await copy_deployment(old, new, options=options, report=report)


async def state(database: Anywhere) -> str:
    async with deployment_at(database.url) as deployment:
        return (await status_of(deployment)).state


def same(source: Anywhere, target: Anywhere) -> bool:
    """Tell whether a copy is whole, and nothing is left of the copying."""
    versions = [each.execute("SELECT version_num FROM alembic_version") for each in (source, target)]
    return stored(source) == stored(target) and versions == [[(SCHEMA_VERSION,)]] * 2 and not leftovers(target)


def leftovers(database: Anywhere) -> bool:
    try:
        database.execute("SELECT 1 FROM copy_progress")
    except Exception as error:  # noqa: BLE001 - each database has its own
        return "copy_progress" not in str(error)
    return True


# What is copied


@every_pair
@pytest.mark.parametrize("chunk", [(1, 10**9), (1000, 2_000)], ids=str)
async def test_everything_is_copied_as_it_is(make: Make, kinds: tuple[str, str], chunk: tuple[int, int]) -> None:
    source, target = await asyncio.to_thread(filled, make(kinds[0])), make(kinds[1])
    rows, size = chunk
    told = await copied(source, target, rows=rows, size=size)
    assert all(stored(source).values()), "a table was left empty"
    assert same(source, target)
    assert {each.name: each.rows for each in told} == {table: len(rows) for table, rows in stored(source).items()}


@every_pair
async def test_what_running_processes_say_of_themselves_stays_behind(make: Make, kinds: tuple[str, str]) -> None:
    source, target = await asyncio.to_thread(filled, make(kinds[0])), make(kinds[1])
    await copied(source, target)
    assert {table for table, rows in contents(target).items() if not rows} == STAYS
    assert tables_of(target) == tables_of(source)


async def test_checksums_are_of_the_texts_and_not_of_how_they_are_kept(make: Make) -> None:
    begun, there, back = await asyncio.to_thread(filled, make("sqlite")), make("postgres"), make("sqlite")
    assert await copied(begun, there) == await copied(there, back)
    assert same(begun, back)


@every_pair
async def test_the_copy_has_the_schema_of_a_fresh_database(make: Make, kinds: tuple[str, str]) -> None:
    source, target, fresh = await asyncio.to_thread(filled, make(kinds[0])), make(kinds[1]), make(kinds[1])
    await copied(source, target)
    await asyncio.to_thread(fresh.upgrade, "head")
    assert target.schema() == fresh.schema()


@every_pair
async def test_numbers_that_were_given_out_are_not_given_out_again(make: Make, kinds: tuple[str, str]) -> None:
    source, target = await asyncio.to_thread(filled, make(kinds[0])), make(kinds[1])
    source.execute(
        "UPDATE sqlite_sequence SET seq = 500"
        if kinds[0] == "sqlite"
        else "SELECT setval(pg_get_serial_sequence('conversations', 'key'), 500)"
    )
    await copied(source, target)
    storage = storage_at(target.url)
    await storage.open()
    try:
        await storage.create_conversation("me", conversation(id="new"), [message("first")])
    finally:
        await storage.close()
    assert target.execute("SELECT key FROM conversations WHERE id = 'new'") == [(501,)]


@every_pair
async def test_a_database_with_nothing_in_it_can_be_copied(make: Make, kinds: tuple[str, str]) -> None:
    source, target = make(kinds[0]), make(kinds[1])
    await asyncio.to_thread(source.upgrade, "head")
    await copied(source, target)
    assert same(source, target)


@both
async def test_the_target_may_have_tables_as_long_as_they_are_empty(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    await asyncio.to_thread(target.upgrade, "head")
    await copied(source, target)
    assert same(source, target)


@both
async def test_unfinished_turns_go_on_under_the_server_of_the_copy(make: Make, kind: str) -> None:
    source, target = make("sqlite"), make(kind)
    storage = storage_at(source.url)
    await storage.open()
    try:
        await storage.ensure_account(Account("me", "me"), now=1)
        await storage.register_process("old", lease_ms=1)
        await storage.create_conversation("me", conversation(id="c"), [])
        await storage.register_process("old", lease_ms=60_000)
        asked = new_turn("old", id="t1", account_id="me", conversation_id="c")
        await storage.start_turn(asked, message("asked"), recent=9)
        source.execute("INSERT INTO turn_events VALUES ('t1', 1, 3, 'half an answer')")
        queued = new_turn("old", id="t2", account_id="me", channel_id="ch", kind="dispatch", request=b"do it")
        await storage.queue_turn(queued)
    finally:
        await storage.close()
    source.execute("UPDATE processes SET lease_until = 1")
    await copied(source, target)
    storage = storage_at(target.url)
    await storage.open()
    try:
        await storage.register_process("new", lease_ms=60_000)
        adopted = await storage.claim_lapsed("new", limit=9, now=5)
        assert [(turn.id, turn.attempt, turn.request) for turn in adopted] == [("t2", 2, b"do it")]
        said = await storage.list_messages("me", "c", MessageQuery())
        assert [item.text for item in said] == ["asked", "half an answer"]
        assert said[1].meta == {"interrupted": True, "reason": "crash"}
    finally:
        await storage.close()


@both
async def test_no_more_is_read_at_once_than_a_chunk_holds(make: Make, kind: str) -> None:
    database = await asyncio.to_thread(filled, make(kind))
    for number in range(100, 200):
        row = (7, number, f"m{number}", "user", 1, 1, "x" * 10_000)
        database.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL, ?)", *row)
    (messages,) = [table for table in copied_tables() if table.name == "messages"]
    async with deployment_at(database.url) as deployment:
        for size in (1, 50, 100_000):
            rows = await deployment.read(next_rows(messages, None, Chunk(size=size)))
            read = [sum(len(value.encode()) for value in row if isinstance(value, str)) for row in rows]
            assert sum(read[:-16]) < size <= sum(read)
        rows = await deployment.read(next_rows(messages, None, Chunk(rows=3)))
        assert len(rows) == 3


# Interrupted


@every_pair
async def test_a_copy_that_ends_at_any_moment_goes_on_from_there(make: Make, kinds: tuple[str, str]) -> None:
    source, target = await asyncio.to_thread(filled, make(kinds[0])), make(kinds[1])
    copied_before: list[int] = []

    def stop(advance: Advance) -> None:
        if not copied_before or (advance.phase == "copy" and advance.done > copied_before[-1]):
            copied_before.append(advance.done)
            raise Stopped

    for _ in range(100):
        try:
            await copied(source, target, report=stop)
        except Stopped:
            assert await state(target) == "copying"
        else:
            break
    assert len(copied_before) > 10
    assert same(source, target)


PROGRAM = """
import asyncio, sys
from turnwise.server.storage.deployment.copy import CopyOptions, copy_deployment
from turnwise.server.storage.deployment.database import Chunk
from turnwise.server.storage.deployment.open import deployment_at

async def main(source, target):
    async with deployment_at(source) as old, deployment_at(target, absent=True) as new:
        print("begun", flush=True)
        await copy_deployment(old, new, options=CopyOptions(chunk=Chunk(rows=20)))

asyncio.run(main(*sys.argv[1:]))
"""


@every_pair
def test_a_copy_that_is_killed_again_and_again_loses_and_doubles_nothing(make: Make, kinds: tuple[str, str]) -> None:
    source, target = filled(make(kinds[0])), make(kinds[1])
    numbers = "(WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 3100) SELECT i FROM n) n"
    source.execute(
        "INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, text) "  # noqa: S608 - our own
        f"SELECT 7, i, CAST(i AS text), 'user', i, i, 'message ' || i FROM {numbers}"
    )
    chance = random.Random(7)  # noqa: S311 - chooses moments, not keys
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, source.url, target.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            # Ever later, so that it comes to an end however slow the machine is.
            _, errors = process.communicate(timeout=chance.uniform(0, 0.1) + 0.05 * kills)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        # It may have been killed after its last commit.
        assert process.returncode == 0 or b"an earlier copy into it was finished" in errors
        break
    assert kills >= 3
    assert same(source, target)


@both
async def test_a_copy_that_has_not_ended_is_not_served(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    await begun(source, target)
    for migrate in (True, False):
        storage = storage_at(target.url, migrate=migrate)
        with pytest.raises(Unavailable, match="a copy into it was begun and has not ended"):
            await storage.open()
        await storage.close()
    with pytest.raises(CopyFailed, match="a copy into it was begun"):
        await copied(target, make("sqlite"))


async def begun(source: Anywhere, target: Anywhere) -> None:
    """Copy a part."""

    def stop(advance: Advance) -> None:
        if advance.table == "messages" and advance.rows:
            raise Stopped

    with pytest.raises(Stopped):
        await copied(source, target, report=stop)


@both
async def test_a_part_of_one_database_is_not_gone_on_with_from_another(make: Make, kind: str) -> None:
    source, other, target = make("sqlite"), make("sqlite"), make(kind)
    for each in (source, other):
        await asyncio.to_thread(filled, each)
    other.execute("UPDATE settings SET value = ?", b"another key")
    await begun(source, target)
    with pytest.raises(CopyFailed, match=r"part of another database.*--restart"):
        await copied(other, target)
    await copied(other, target, restart=True)
    assert same(other, target)


@both
async def test_of_two_copies_into_one_target_one_goes_on(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    await begun(source, target)
    ended = await asyncio.gather(copied(source, target), copied(source, target), return_exceptions=True)
    failed = [each for each in ended if isinstance(each, BaseException)]
    assert len(failed) <= 1
    assert all(isinstance(each, CopyFailed) for each in failed)
    assert same(source, target)


# Compared


@every_pair
async def test_a_source_that_changes_while_it_is_copied_is_found_out(make: Make, kinds: tuple[str, str]) -> None:
    source, target = await asyncio.to_thread(filled, make(kinds[0])), make(kinds[1])

    def change(advance: Advance) -> None:
        if advance.phase == "copy" and advance.table == "votes" and advance.ended:
            source.execute("UPDATE messages SET text = 'edited' WHERE sequence = 1")
            source.execute("DELETE FROM used_tokens")

    with pytest.raises(CopyFailed) as caught:
        await copied(source, target, report=change)
    assert "messages has 14 rows in both, and they are not the same" in str(caught.value)
    assert "used_tokens has 0 rows in the source and 1 in the target" in str(caught.value)
    assert "votes" not in str(caught.value)
    assert await state(target) == "copying"
    await copied(source, target, restart=True)
    assert same(source, target)


@both
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE messages SET text = text || ' ' WHERE sequence = 2",
        "UPDATE messages SET name = '' WHERE sequence = 2",
        "UPDATE conversations SET privacy = NULL WHERE id = 'c'",
        "UPDATE conversation_terms SET value = 'e\u0301' WHERE value = 'pro'",
        "DELETE FROM waits",
        "INSERT INTO removed_messages VALUES (7, 'x', 0, 1)",
    ],
)
async def test_a_target_that_is_not_what_was_copied_is_found_out(make: Make, kind: str, statement: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)

    def spoil(advance: Advance) -> None:
        if advance.phase == "verify" and advance.table == "accounts" and not advance.done:
            target.execute(statement)

    with pytest.raises(CopyFailed, match=f"not what .*{statement.split()[1 if 'UPDATE' in statement else 2]} has"):
        await copied(source, target, report=spoil)


# Refused


@both
async def test_a_target_that_holds_something_is_refused_and_left_alone(make: Make, kind: str) -> None:
    source, target = make("sqlite"), make(kind)
    for each in (source, target):
        await asyncio.to_thread(filled, each)
    target.execute("UPDATE settings SET value = ?", b"another key")
    before = contents(target)
    with pytest.raises(CopyFailed, match=r"holds data already \(in accounts, "):
        await copied(source, target)
    with pytest.raises(CopyFailed, match="holds data already"):
        await copied(source, target, restart=True)
    assert contents(target) == before


@both
async def test_a_finished_copy_is_told_from_a_database_of_others(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    await copied(source, target)
    for restart in (False, True):
        with pytest.raises(CopyFailed, match="holds this deployment already"):
            await copied(source, target, restart=restart)
    assert same(source, target)


@both
async def test_a_target_of_something_else_is_refused_and_left_alone(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    target.execute("CREATE TABLE shop (id INTEGER)")
    with pytest.raises(CopyFailed, match="something else made"):
        await copied(source, target)
    assert tables_of(target) == {"shop"}


@both
@pytest.mark.parametrize("which", ["source", "target"])
async def test_older_tables_are_to_be_upgraded_before(make: Make, kind: str, which: str) -> None:
    other, old = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    await asyncio.to_thread(old.upgrade, "0002")
    source, target = (old, other) if which == "source" else (other, old)
    with pytest.raises(CopyFailed, match=r"older schema version 0002.*`turnwise database migrate"):
        await copied(source, target)


@both
async def test_a_newer_source_is_refused(make: Make, kind: str) -> None:
    source = await asyncio.to_thread(filled, make(kind))
    source.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CopyFailed, match="schema version 9999"):
        await copied(source, make("sqlite"))


@both
async def test_a_source_without_tables_is_refused(make: Make, kind: str) -> None:
    source = make(kind)
    if isinstance(source, OnSqlite):
        with pytest.raises(Unavailable, match="There is no database at"):
            await copied(source, make("sqlite"))
        assert not source.path.exists()
        source.path.touch()
    with pytest.raises(CopyFailed, match="nothing to copy"):
        await copied(source, make("sqlite"))


@both
async def test_a_source_that_is_served_is_refused_unless_told_otherwise(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make(kind)), make("sqlite")
    source.execute("INSERT INTO processes VALUES ('alive', 9999999999999)")
    with pytest.raises(CopyFailed, match=r"A server is running on .*--running"):
        await copied(source, target)
    assert not isinstance(target, OnSqlite) or not target.path.exists()
    await copied(source, target, running=True)
    assert same(source, target)


@both
async def test_a_target_that_is_served_is_refused(make: Make, kind: str) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make(kind)
    await asyncio.to_thread(target.upgrade, "head")
    target.execute("INSERT INTO processes VALUES ('alive', 9999999999999)")
    with pytest.raises(CopyFailed, match="A server is running"):
        await copied(source, target)


async def test_a_file_is_not_copied_onto_itself_by_another_name(make: Make, tmp_path: Path) -> None:
    source = await asyncio.to_thread(filled, make("sqlite"))
    assert isinstance(source, OnSqlite)
    (tmp_path / "linked.db").symlink_to(source.path)
    with pytest.raises(CopyFailed, match="the same database"):
        await copied(source, OnSqlite(tmp_path / "linked.db"))


async def test_a_database_is_not_copied_onto_itself_by_another_name(make: Make) -> None:
    source = await asyncio.to_thread(filled, make("postgres"))
    with pytest.raises(CopyFailed, match="the same database"):
        await copied(source, OnPostgres(source.url + "&pool_size=2&pooler=transaction"))


async def test_another_schema_of_the_same_database_is_another_target(make: Make) -> None:
    source = await asyncio.to_thread(filled, make("postgres"))
    source.execute("CREATE SCHEMA beside")
    target = OnPostgres(source.url + "&search_path=beside")
    await copied(source, target)
    assert len(source.execute("SELECT 1 FROM beside.messages")) == 14


async def test_a_database_that_goes_away_says_that_the_copy_can_go_on(make: Make, tmp_path: Path) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make("postgres")

    def cut(advance: Advance) -> None:
        if advance.table == "messages" and advance.rows == 4:
            target.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with pytest.raises(CopyFailed, match="start the same command again"):
        await copied(source, target, report=cut)
    await copied(source, target)
    assert same(source, target)


async def test_behind_a_pooler_nothing_is_kept_on_a_connection(make: Make) -> None:
    source, target = await asyncio.to_thread(filled, make("sqlite")), make("postgres")
    await copied(source, OnPostgres(target.url + "&pooler=transaction"))
    assert same(source, target)
