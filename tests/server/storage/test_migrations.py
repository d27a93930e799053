from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import message, published
from tests.server.storage.versions import REVISIONS, Anywhere, OnPostgres, OnSqlite, contents, fill, tables_of

from turnwise.server.errors import Unavailable
from turnwise.server.storage.base import ConversationQuery, MessageQuery
from turnwise.server.storage.database import SCHEMA_VERSION
from turnwise.server.storage.journal import JournaledStorage
from turnwise.server.storage.open import storage_at

NOW = 5


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Anywhere:
    """An empty database."""
    if request.param == "sqlite":
        return OnSqlite(tmp_path / "old.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return OnPostgres(server.database())


@pytest.fixture
def fresh(database: Anywhere, request: pytest.FixtureRequest, tmp_path: Path) -> Anywhere:
    """Another one of its kind, made as it is today."""
    made: Anywhere
    if isinstance(database, OnSqlite):
        made = OnSqlite(tmp_path / "fresh.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        made = OnPostgres(server.database())
    asyncio.run(opened_and_closed(made.url))
    return made


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[JournaledStorage]:
    storage = storage_at(url)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def opened_and_closed(url: str, *, migrate: bool = True) -> None:
    storage = storage_at(url, migrate=migrate)
    try:
        await storage.open()
    finally:
        await storage.close()


def version(database: Anywhere) -> str:
    ((found,),) = database.execute("SELECT version_num FROM alembic_version")
    return str(found)


def migrate(*databases: Anywhere) -> list[subprocess.CompletedProcess[str]]:
    """Run `turnwise database migrate` on all of them at once."""
    command = [sys.executable, "-m", "turnwise", "database", "migrate", "--json", "--database"]
    running = [
        subprocess.Popen([*command, each.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for each in databases
    ]
    ended: list[subprocess.CompletedProcess[str]] = []
    for process in running:
        out, err = process.communicate(timeout=60)
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, " ".join(err.split())))
    return ended


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_a_version_stored_is_there_unchanged_after_the_upgrade(database: Anywhere, revision: str) -> None:
    database.upgrade(revision)
    fill(database)
    before = contents(database)
    assert all(before.values()), "a table was left empty"
    assert [process.stderr for process in migrate(database)] == [""]
    after = contents(database)
    kept = {
        table: sorted(({name: row[name] for name in rows[0]} for row in after[table]), key=repr)
        for table, rows in before.items()
    }
    assert kept == before


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_upgraded_schema_is_the_one_of_a_fresh_database(database: Anywhere, fresh: Anywhere, revision: str) -> None:
    database.upgrade(revision)
    fill(database)
    asyncio.run(opened_and_closed(database.url))
    assert database.schema() == fresh.schema()
    assert version(database) == version(fresh) == SCHEMA_VERSION


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_server_works_on_what_it_upgraded(database: Anywhere, revision: str) -> None:
    await asyncio.to_thread(database.upgrade, revision)
    await asyncio.to_thread(fill, database)
    async with opened(database.url) as storage:
        kept = await storage.fetch_conversation("me", "c")
        assert (kept.name, kept.meta, kept.backstory, kept.privacy) == ("old", {"plan": "pro"}, "be kind", True)
        await storage.add_messages("me", "c", [message("again")])
        texts = [item.text for item in await storage.list_messages("me", "c", MessageQuery(take=9, order="asc"))]
        assert texts == ["hello \N{GRINNING FACE}\n", "he", "again"]
        assert (await storage.conversation_usage("me", "c", begin=0, end=9)).tokens == 7
        assert await storage.signing_key(b"another") == bytes(range(32))
        assert [each.id for each in await storage.list_conversations("du", ConversationQuery())] == ["d"]
        await storage.register_process("p", lease_ms=60_000)
        adopted = await storage.claim_lapsed("p", limit=9, now=NOW)
        expected = [("turn-1", 2, "waiting"), ("turn-2", 3, "running")] if revision > "0001" else []
        assert [(turn.id, turn.attempt, turn.state) for turn in adopted] == expected
        (seq,) = await storage.publish([published("new", account="me", channel="channel-2")])
        assert seq == (10 if revision > "0001" else 1)


def test_of_processes_that_upgrade_at_once_one_does_it_and_the_others_find_it_done(database: Anywhere) -> None:
    database.upgrade("0001")
    fill(database)
    ended = migrate(database, database, database)
    assert [process.stderr for process in ended] == [""] * 3
    found = sorted(json.loads(process.stdout)["before"] for process in ended)
    assert found == ["0001", SCHEMA_VERSION, SCHEMA_VERSION]
    assert version(database) == SCHEMA_VERSION


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_an_upgrade_that_fails_leaves_everything_as_it_was(database: Anywhere, revision: str) -> None:
    database.upgrade(revision)
    fill(database)
    database.execute("CREATE TABLE writers (in_the_way INTEGER)")
    before = database.schema(), database.execute("SELECT * FROM messages ORDER BY sequence"), version(database)
    (ended,) = migrate(database)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"has the older schema version {revision} and cannot be upgraded" in ended.stderr
    after = database.schema(), database.execute("SELECT * FROM messages ORDER BY sequence"), version(database)
    assert after == before
    database.execute("DROP TABLE writers")
    asyncio.run(opened_and_closed(database.url))
    assert version(database) == SCHEMA_VERSION


def test_a_newer_version_is_refused_by_all_and_left_alone(database: Anywhere) -> None:
    asyncio.run(opened_and_closed(database.url))
    fill(database)
    database.execute("ALTER TABLE messages ADD COLUMN newer INTEGER")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = database.schema(), contents(database)
    (ended,) = migrate(database)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"schema version 9999, and this Turnwise knows versions up to {SCHEMA_VERSION}" in ended.stderr
    for may in (True, False):
        with pytest.raises(Unavailable, match="version 9999"):
            asyncio.run(opened_and_closed(database.url, migrate=may))
    assert (database.schema(), contents(database)) == before
    assert version(database) == "9999"


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_an_older_version_is_refused_and_left_alone_where_nothing_may_be_changed(
    database: Anywhere, revision: str
) -> None:
    database.upgrade(revision)
    before = database.schema()
    with pytest.raises(Unavailable, match=f"older schema version {revision}.*`turnwise database migrate`"):
        asyncio.run(opened_and_closed(database.url, migrate=False))
    assert (database.schema(), version(database)) == (before, revision)
    (ended,) = migrate(database)
    assert json.loads(ended.stdout)["before"] == revision
    asyncio.run(opened_and_closed(database.url, migrate=False))


def test_no_tables_are_made_where_nothing_may_be_changed(database: Anywhere) -> None:
    with pytest.raises(Unavailable, match=r"no tables yet.*`turnwise database migrate`"):
        asyncio.run(opened_and_closed(database.url, migrate=False))
    if isinstance(database, OnSqlite):
        assert not database.path.exists()
        database.path.touch()
        with pytest.raises(Unavailable, match="no tables yet"):
            asyncio.run(opened_and_closed(database.url, migrate=False))
    assert tables_of(database) == set()
    (ended,) = migrate(database)
    assert json.loads(ended.stdout)["before"] is None
    asyncio.run(opened_and_closed(database.url, migrate=False))
