from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.server.storage.scene import START, StillClock, conversation, message, published

from turnwise.server.errors import Unavailable
from turnwise.server.storage import database, migrations
from turnwise.server.storage.base import Account, ConversationQuery
from turnwise.server.storage.jobs import channels
from turnwise.server.storage.sqlite import SqliteStorage


async def opened_and_closed(path: Path) -> None:
    storage = SqliteStorage(path, clock=StillClock())
    try:
        await storage.open()
    finally:
        await storage.close()


def schema(path: Path) -> dict[str, tuple[object, ...]]:
    """Return each table's kind, columns and indexes; not their order, which an upgrade cannot choose."""
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute(
            "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
        ).fetchall()
        texts = dict(db.execute("SELECT name, upper(sql) FROM sqlite_master WHERE type = 'table'"))
        return {
            name: (
                without_rowid,
                "AUTOINCREMENT" in (texts.get(name) or ""),
                sorted(db.execute('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (name,))),
                sorted(
                    (index, *rest, db.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall())
                    for index, *rest in db.execute(
                        'SELECT name, "unique", origin, partial FROM pragma_index_list(?)', (name,)
                    )
                ),
            )
            for name, without_rowid in tables
        }


def version(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchall()


def base_database(path: Path) -> None:
    """Make a database as Alembic knows it before its first migration."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")


async def test_files_and_folders_are_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "turnwise.db"
    storage = SqliteStorage(path)
    await storage.open()
    try:
        await storage.ensure_account(Account("1", "me"), now=1)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        await storage.close()
    assert modes == {"turnwise.db": 0o600, "turnwise.db-wal": 0o600, "turnwise.db-shm": 0o600}
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]


async def test_modes_of_what_exists_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    (folder / "turnwise.db").touch(mode=0o644)
    await opened_and_closed(folder / "turnwise.db")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "turnwise.db").stat().st_mode) == 0o644


async def test_commits_are_on_disk_before_they_are_acknowledged(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "turnwise.db")
    await storage.open()
    try:
        mode = await storage.writer.run(lambda db: db.execute("PRAGMA journal_mode").fetchone())
        synchronous = await storage.writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone())
    finally:
        await storage.close()
    assert (mode, synchronous) == (("wal",), (2,))


async def test_fresh_database_needs_neither_alembic_nor_sqlalchemy(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from turnwise.server.storage.open import storage_at
async def main():
    for _ in range(2):
        storage = storage_at("sqlite:///{tmp_path}/turnwise.db")
        await storage.open()
        await storage.close()
asyncio.run(main())
print(sorted({{"alembic", "sqlalchemy", "aiohttp"}} & set(sys.modules)))
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


async def test_migrations_from_scratch_make_the_schema_of_a_fresh_database(tmp_path: Path) -> None:
    await opened_and_closed(tmp_path / "fresh.db")
    migrations.upgrade(tmp_path / "migrated.db")
    assert schema(tmp_path / "migrated.db") == schema(tmp_path / "fresh.db")
    assert version(tmp_path / "migrated.db") == version(tmp_path / "fresh.db") == [(database.SCHEMA_VERSION,)]


REVISIONS = sorted(file.stem.split("_")[0] for file in Path(migrations.__file__).parent.glob("versions/0*.py"))


def test_newest_migration_is_the_version_that_is_expected() -> None:
    assert REVISIONS[-1] == database.SCHEMA_VERSION


@pytest.mark.parametrize("revision", ["base", *REVISIONS])
async def test_database_of_every_version_is_upgraded_at_start(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "old %.db"
    if revision == "base":
        base_database(path)
    else:
        migrations.upgrade(path, revision)
    storage = SqliteStorage(path, clock=StillClock())
    await storage.open()
    try:
        await storage.create_conversation("me", conversation(), [])
        assert len(await storage.list_conversations("me", ConversationQuery())) == 1
    finally:
        await storage.close()
    await opened_and_closed(tmp_path / "fresh.db")
    assert schema(path) == schema(tmp_path / "fresh.db")
    assert version(path) == [(database.SCHEMA_VERSION,)]


async def test_upgrade_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    base_database(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE messages (in_the_way)")
    before = schema(path)
    with pytest.raises(Unavailable, match="cannot be upgraded"):
        await opened_and_closed(path)
    assert schema(path) == before


@pytest.mark.parametrize(
    "newer, said", [("0999", "schema version 0999, and this Turnwise knows"), ("a1b2c3", "something else made")]
)
async def test_database_of_a_newer_or_unknown_version_is_refused_and_left_alone(
    tmp_path: Path, newer: str, said: str
) -> None:
    path = tmp_path / "turnwise.db"
    await opened_and_closed(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (newer,))
    with pytest.raises(Unavailable, match=said):
        await opened_and_closed(path)
    assert version(path) == [(newer,)]


async def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match="'theirs'"):
        await opened_and_closed(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    assert before[:16] == path.read_bytes()[:16]


async def test_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database at all, whatever somebody says\n" * 50)
    with pytest.raises(Unavailable, match=r"notes\.txt cannot be opened"):
        await opened_and_closed(path)


async def test_file_in_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be opened"):
        await opened_and_closed(tmp_path / "file" / "turnwise.db")


async def test_too_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(Unavailable, match=r"needs 3\.35\.0"):
        await opened_and_closed(tmp_path / "turnwise.db")


async def test_full_disk_refuses_writes_and_they_go_on_when_there_is_room(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "turnwise.db", clock=StillClock())
    await storage.open()
    try:
        (used,) = await storage.writer.run(lambda db: db.execute("PRAGMA page_count").fetchone())
        await storage.writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {used + 10}").fetchone())
        large = conversation(backstory="x" * 100_000)
        await storage.create_conversation("me", conversation(), [])
        with pytest.raises(Unavailable, match="full"):
            await storage.create_conversation("me", large, [])
        await storage.create_conversation("me", conversation(), [])
        await storage.writer.run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
        await storage.create_conversation("me", large, [])
        assert len(await storage.list_conversations("me", ConversationQuery())) == 3
    finally:
        await storage.close()


async def test_what_was_purged_is_nowhere_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "turnwise.db"
    storage = SqliteStorage(path, clock=StillClock())
    await storage.open()
    try:
        given = conversation(backstory="a secret story " * 10, name="a secret name", meta={"a": "a secret value"})
        texts = ["a secret word", "a secret novel " * 10_000]
        await storage.create_conversation("me", given, [message(text) for text in texts])
        await storage.delete_conversation("me", given.id)
        while await storage.purge(now=START):
            pass
    finally:
        await storage.close()
    assert not path.with_name("turnwise.db-wal").exists()
    assert b"secret " not in path.read_bytes()


PROCESS = """
import asyncio, sys
from pathlib import Path
from turnwise.server.storage.base import Account
from turnwise.server.storage.sqlite import SqliteStorage
async def main():
    storage = SqliteStorage(Path(sys.argv[1]))
    await storage.open()
    account = await storage.ensure_account(Account(sys.argv[2], "shared"), now=1)
    mine = [Account(f"{sys.argv[2]}-{n}", f"{sys.argv[2]}-{n}") for n in range(50)]
    await asyncio.gather(*(storage.ensure_account(account, now=1) for account in mine))
    await storage.close()
    print(account.id)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.mark.parametrize("old", [False, True], ids=["fresh", "older"])
async def test_processes_that_start_at_once_share_the_database(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "turnwise.db"
    if old:
        base_database(path)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROCESS,
            str(path),
            str(number),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for number in range(4)
    ]
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * 4
    assert len({output for output, _ in outputs}) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (201,)


async def test_a_message_that_is_stored_while_the_history_is_read_is_not_behind_the_reader(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "t.db", clock=StillClock())
    await storage.open()

    class Interrupted(sqlite3.Connection):
        """Somebody publishes after its first statement."""

        statements = 0

        def execute(self, *args: Any) -> sqlite3.Cursor:
            cursor = super().execute(*args)
            self.statements += 1
            if self.statements == 1:
                with closing(sqlite3.connect(tmp_path / "t.db")) as other, other:
                    channels.publish(other, [published("1")])
            return cursor

    try:
        with closing(sqlite3.connect(tmp_path / "t.db", factory=Interrupted)) as db:
            assert channels.channel_history(db, "account-me", "channel", length=10, now=START) == 0
    finally:
        await storage.close()
