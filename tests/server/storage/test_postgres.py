"""What PostgreSQL alone can do to a storage: go away, be busy, be somebody else's, and serve several at once."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.server import postgres as own
from tests.server.pgbouncer import Pooler
from tests.server.postgres import PostgresServer, executed
from tests.server.services.stage import until
from tests.server.storage.scene import HOUR, START, StillClock, conversation, message, new_turn, once, published
from tests.stalls import Stalls

from turnwise.server.errors import Conflict, NotFound, Unavailable
from turnwise.server.ids import now
from turnwise.server.storage import migrations, postgres_pool, postgres_writer
from turnwise.server.storage.base import Account, MessageQuery
from turnwise.server.storage.database import SCHEMA_VERSION
from turnwise.server.storage.deployment.open import deployment_at
from turnwise.server.storage.deployment.status import status_of
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.postgres_connection import numbered
from turnwise.server.storage.postgres_database import MARGIN, SCHEMA_LOCK, PostgresAddress
from turnwise.server.storage.postgres_pool import ConnectionPool

ME = "account-me"

SCHEMA = """
    SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT tablename, indexname, indexdef, NULL, NULL, NULL FROM pg_indexes WHERE schemaname = 'public'
    ORDER BY 1, 2
"""


ASLEEP = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


class Opened:
    """Storages that are closed when the test ends."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.url = server.emptied()
        self.stack = AsyncExitStack()

    async def storage(self, parameters: str = "") -> PostgresStorage:
        storage = PostgresStorage(self.url + parameters, clock=StillClock())
        await storage.open()
        self.stack.push_async_callback(storage.close)
        await storage.ensure_account(Account(ME, "me"), now=START)
        return storage

    async def texts(self, id_: str) -> list[str]:
        """Return the texts of a conversation's messages, as a new storage reads them."""
        storage = await self.storage()
        return [item.text for item in await storage.list_messages(ME, id_, MessageQuery(take=1000))]

    @asynccontextmanager
    async def held_up(self, pool: ConnectionPool, *, jobs: int) -> AsyncGenerator[None]:
        """Let so many jobs each hold a connection of a pool for as long as the context lasts."""
        slow = [
            asyncio.create_task(pool.run(lambda db: db.execute("SELECT pg_sleep(1000)").fetchone()))
            for _ in range(jobs)
        ]
        try:
            async with asyncio.timeout(60):
                while len(await executed(self.url, ASLEEP)) < jobs:  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.01)
            yield
        finally:
            await executed(self.url, f"SELECT pg_cancel_backend(pid) FROM ({ASLEEP}) AS asleep")  # noqa: S608 - our own
            await asyncio.gather(*slow, return_exceptions=True)


@pytest.fixture
async def opened(postgres: PostgresServer) -> AsyncIterator[Opened]:
    opened = Opened(postgres)
    async with opened.stack:
        yield opened


async def begun(storage: PostgresStorage) -> str:
    given = conversation()
    await storage.create_conversation(ME, given, [])
    return given.id


# The schema


async def test_processes_that_start_at_once_make_one_schema(postgres: PostgresServer) -> None:
    url = postgres.database()
    storages = [PostgresStorage(url) for _ in range(8)]
    await asyncio.gather(*(storage.open() for storage in storages))
    assert all(await asyncio.gather(*(storage.ready() for storage in storages)))
    await asyncio.gather(*(storage.close() for storage in storages))
    assert await executed(url, "SELECT version_num FROM alembic_version") == [(SCHEMA_VERSION,)]


async def test_migrations_from_scratch_make_the_schema_of_an_empty_database(postgres: PostgresServer) -> None:
    fresh, migrated = postgres.database(), postgres.database()
    storage = PostgresStorage(fresh)
    await storage.open()
    await storage.close()
    await migrations.upgrade_postgres(PostgresAddress.of(migrated).connect, 1)
    assert await executed(migrated, SCHEMA) == await executed(fresh, SCHEMA)
    assert await executed(migrated, "SELECT version_num FROM alembic_version") == [(SCHEMA_VERSION,)]


async def test_older_schema_is_upgraded_by_whoever_comes_first(postgres: PostgresServer) -> None:
    url = postgres.database()
    await migrations.upgrade_postgres(PostgresAddress.of(url).connect, 1, "0001")
    await executed(url, "INSERT INTO accounts VALUES ('kept', 'kept', 1)")
    storages = [PostgresStorage(url) for _ in range(3)]
    await asyncio.gather(*(storage.open() for storage in storages))
    assert await storages[0].accounts() == [Account("kept", "kept")]
    await storages[1].register_process("p", lease_ms=HOUR)
    await asyncio.gather(*(storage.close() for storage in storages))


async def test_newer_schema_is_refused_and_left_alone(postgres: PostgresServer) -> None:
    url = postgres.database()
    storage = PostgresStorage(url)
    await storage.open()
    await storage.close()
    await executed(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match=f"version 9999, and this Turnwise knows versions up to {SCHEMA_VERSION}"):
        await storage.open()
    assert await executed(url, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_database_of_something_else_is_refused_and_left_alone(postgres: PostgresServer) -> None:
    url = postgres.database()
    await executed(url, "CREATE TABLE shop (id int)")
    with pytest.raises(Unavailable, match=r"something else made .*'shop'"):
        await PostgresStorage(url).open()
    assert await executed(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("shop",)]


@pytest.mark.parametrize("table, version", [("shop", SCHEMA_VERSION), ("conversations", "1975ea83b712")])
async def test_database_that_another_program_migrates_is_not_taken_for_a_newer_one(
    postgres: PostgresServer, table: str, version: str
) -> None:
    url = postgres.database()
    await executed(url, "CREATE TABLE alembic_version (version_num text)")
    await executed(url, "INSERT INTO alembic_version VALUES ($1)", version)
    await executed(url, f"CREATE TABLE {table} (id int)")
    with pytest.raises(Unavailable, match="something else made"):
        await PostgresStorage(url).open()
    async with deployment_at(url) as deployment:
        assert (await status_of(deployment)).state == "foreign"


async def test_user_that_may_not_make_tables_is_told_what_to_grant(postgres: PostgresServer) -> None:
    url = postgres.database()
    await executed(url, "CREATE ROLE guest LOGIN")
    with pytest.raises(Unavailable, match=r"permission denied for schema public.*OWNER TO"):
        await PostgresStorage(url.replace("//postgres@", "//guest@")).open()


async def test_user_that_may_not_write_to_tables_of_another_is_told_what_to_grant(postgres: PostgresServer) -> None:
    url = postgres.database()
    async with deployment_at(url) as deployment:
        await deployment.prepare()
    await executed(url, "CREATE ROLE reader LOGIN")
    await executed(url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    with pytest.raises(Unavailable, match=r"permission denied for table writers.*ALL on its tables"):
        await PostgresStorage(url.replace("//postgres@", "//reader@")).open()


async def test_database_that_takes_no_writes_is_refused_as_such(postgres: PostgresServer) -> None:
    url = postgres.database()
    async with deployment_at(url) as deployment:
        await deployment.prepare()
    name = url.partition("/test_")[2].partition("?")[0]
    await executed(postgres.url(), f"ALTER DATABASE test_{name} SET default_transaction_read_only = on")
    with pytest.raises(Unavailable, match=r"takes no writes.*Name the primary"):
        await PostgresStorage(url).open()


async def test_schema_that_is_not_there_is_named_as_what_is_missing(postgres: PostgresServer) -> None:
    with pytest.raises(Unavailable, match=r"does not have the schema that `search_path` names.*CREATE SCHEMA"):
        await PostgresStorage(postgres.database() + "&search_path=nowhere").open()


@pytest.mark.parametrize("held", [f"pg_advisory_xact_lock({SCHEMA_LOCK})", "count(*) FROM turns"])
async def test_start_waits_for_others_that_change_the_schema_longer_than_for_an_answer(
    postgres: PostgresServer, held: str
) -> None:
    url = postgres.database()
    await migrations.upgrade_postgres(PostgresAddress.of(url).connect, 1, "0002")
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.execute(f"SELECT {held}")
            storage = PostgresStorage(url + "&statement_timeout=1")
            opening = asyncio.create_task(storage.open())
            await asyncio.sleep(1 + MARGIN + 0.5)
            assert not opening.done()
        await opening
        assert await storage.ready()
        await storage.close()
    finally:
        await other.close()


async def test_database_that_does_not_store_every_text_is_refused(postgres: PostgresServer) -> None:
    url = postgres.url("latin")
    await executed(postgres.url(), "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(Unavailable, match=r"encoding LATIN1.*expects UTF8"):
        await PostgresStorage(url).open()
    assert await executed(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


async def test_user_without_a_connection_left_is_told_so(postgres: PostgresServer) -> None:
    url = postgres.database()
    await executed(url, "CREATE ROLE lonely LOGIN CONNECTION LIMIT 0")
    with pytest.raises(Unavailable, match=r"no connection left.*lower `pool_size`"):
        await PostgresStorage(url.replace("//postgres@", "//lonely@")).open()


# The server


@pytest.mark.parametrize(
    "where, said",
    [("@127.0.0.1:1/db", "cannot be reached"), ("@/missing?host={folder}", "refuses the connection.*does not exist")],
)
async def test_server_that_cannot_be_used_is_named_without_the_password(
    postgres: PostgresServer, where: str, said: str
) -> None:
    url = f"postgresql://postgres:hunter2{where.format(folder=postgres.folder)}"
    with pytest.raises(Unavailable, match=said) as caught:
        await PostgresStorage(url).open()
    assert "hunter2" not in str(caught.value)


async def test_server_that_does_not_answer_is_said_not_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://postgres:hunter2@127.0.0.1:{silent.getsockname()[1]}/db"
        with pytest.raises(Unavailable, match=r"cannot be reached: it does not answer\. Start it"):
            await PostgresStorage(url).open()


async def test_writers_that_are_gone_for_a_day_are_forgotten(opened: Opened) -> None:
    storage = await opened.storage()
    before = await executed(opened.url, "SELECT id FROM writers ORDER BY id")
    await executed(opened.url, "INSERT INTO writers VALUES ('gone', 7, 1)")
    await storage.purge(now=now())
    assert await executed(opened.url, "SELECT id FROM writers ORDER BY id") == before != []


async def test_writer_that_commits_on_and_on_does_not_write_to_one_row_all_the_time(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_writer, "GROUPS_A_ROW", 10)
    storage = await opened.storage()
    conversation_id = await begun(storage)
    seen: set[str] = set()
    for number in range(35):
        await storage.add_messages(ME, conversation_id, [message(str(number))])
        ((row,),) = await executed(opened.url, "SELECT id FROM writers ORDER BY last_group DESC LIMIT 1")
        seen.add(row)
    assert len(seen) >= 4
    assert await opened.texts(conversation_id) == [str(number) for number in range(35)]
    assert len(seen & {row for (row,) in await executed(opened.url, "SELECT id FROM writers")}) <= 2


async def test_keys_of_requests_are_forgotten_many_at_a_time(opened: Opened) -> None:
    storage = await opened.storage()
    await executed(
        opened.url,
        "INSERT INTO idempotency (digest, body, created_at) "
        "SELECT number::text::bytea, ''::bytea, 1 FROM generate_series(1, 3000) number",
    )
    (begun_at,) = (await executed(opened.url, "SELECT max(last_group) FROM writers"))[0]
    while await storage.purge(now=now()):
        pass
    (ended_at,) = (await executed(opened.url, "SELECT max(last_group) FROM writers"))[0]
    assert await executed(opened.url, "SELECT count(*) FROM idempotency") == [(0,)]
    assert ended_at - begun_at < 40


async def test_purge_leaves_channels_alone_that_another_process_writes_to(opened: Opened) -> None:
    storage = await opened.storage()
    await storage.publish([published("a", channel="busy"), published("b", channel="quiet")])
    other = await asyncpg.connect(opened.url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM channels WHERE channel = 'busy' FOR NO KEY UPDATE")
            assert await storage.purge(now=START + HOUR) == 1  # one that waited would be refused for that
    finally:
        await other.close()
    assert await storage.purge(now=START + HOUR) == 1
    assert await executed(opened.url, "SELECT sum(kept) FROM channels") == [(0,)]


def test_address_may_name_several_hosts_of_which_one_can_be_written_to() -> None:
    address = PostgresAddress.of("postgresql://me:hunter2@one:5432,two:5433/db?pool_size=3")
    assert address.url == "postgresql://me:hunter2@one:5432,two:5433/db?target_session_attrs=read-write"
    assert address.label == "postgresql://one:5432,two:5433/db"
    with pytest.raises(ValueError, match="cannot be read") as caught:
        PostgresAddress.of("postgresql://me:hunter2@one:5432,two:port/db")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", ["12/34hunter2", "12#34hunter2", "hunter2/x", "hunter2#x", "hunter2?x", "hunter2@x"])
def test_password_that_is_not_encoded_is_not_taken_for_something_else(secret: str) -> None:
    with pytest.raises(ValueError, match="Expected postgresql://") as caught:
        PostgresAddress.of(f"postgresql://me:{secret}@one/db")
    assert "hunter2" not in str(caught.value)


@pytest.mark.usefixtures("patient")
async def test_storage_goes_on_when_the_server_was_restarted(opened: Opened) -> None:
    storage = await opened.storage()
    id_ = await begun(storage)
    await asyncio.gather(*(storage.fetch_conversation(ME, id_) for _ in range(3)))
    await asyncio.to_thread(opened.server.stop)
    waiting = asyncio.gather(
        storage.add_messages(ME, id_, [message("meanwhile")]),
        storage.fetch_conversation(ME, id_),
    )
    await asyncio.to_thread(opened.server.start)
    await waiting
    await storage.add_messages(ME, id_, [message("after")])
    assert await opened.texts(id_) == ["meanwhile", "after"]


async def test_requests_are_told_to_come_again_while_the_server_is_away(opened: Opened) -> None:
    storage = await opened.storage()
    id_ = await begun(storage)
    await asyncio.to_thread(opened.server.stop)
    try:
        answers = await asyncio.gather(
            storage.add_messages(ME, id_, [message("lost")]),
            storage.fetch_conversation(ME, id_),
            return_exceptions=True,
        )
        assert not await storage.ready()
    finally:
        await asyncio.to_thread(opened.server.start)
    for answer in answers:
        assert isinstance(answer, Unavailable)
        assert answer.retry_after == 1
    assert await opened.texts(id_) == []


async def test_job_that_finds_no_free_connection_is_told_to_come_again(opened: Opened) -> None:
    pool = ConnectionPool(PostgresAddress.of(f"{opened.url}&pool_size=2"), wait=0.05)
    pool.start()
    async with opened.held_up(pool, jobs=2):
        with pytest.raises(Unavailable, match=r"All 2 connections .* raise `pool_size`") as caught:
            await pool.run(lambda db: db.execute("SELECT 1").fetchone())
    assert caught.value.retry_after == 1
    await pool.close()


async def test_read_that_is_broken_off_while_it_connects_leaves_nothing_open(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[asyncpg.Connection[asyncpg.Record]] = []
    connect = asyncpg.connect

    async def connected(*arguments: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        made.append(await connect(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(asyncpg, "connect", connected)
    monkeypatch.setattr(postgres_pool, "STEADY", "SELECT pg_sleep(5)")
    pool = ConnectionPool(PostgresAddress.of(opened.url))
    pool.start()
    reading = asyncio.create_task(pool.run(lambda db: db.execute("SELECT 1").fetchone()))
    await until(lambda: made)
    reading.cancel()
    await asyncio.wait([reading])
    await pool.close()
    assert [connection.is_closed() for connection in made] == [True]


async def test_server_without_a_connection_left_is_told_from_one_that_is_away(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pool, "PATIENCE", 0.2)
    await executed(opened.url, "CREATE ROLE few LOGIN CONNECTION LIMIT 1")
    pool = ConnectionPool(PostgresAddress.of(opened.url.replace("postgres@", "few@")))
    pool.start()
    async with opened.held_up(pool, jobs=1):
        with pytest.raises(Unavailable, match=r"no connection left .* lower `pool_size`") as caught:
            await pool.run(lambda db: db.execute("SELECT 1").fetchone())
    assert caught.value.retry_after == 1
    await pool.close()
    await executed(opened.url, "DROP ROLE few")


async def test_statement_that_takes_too_long_fails_alone(opened: Opened, stalls: Stalls) -> None:
    storage = await opened.storage("&statement_timeout=1")
    with pytest.raises(Unavailable, match="took too long") as caught:
        await storage._read(lambda db: db.execute("SELECT pg_sleep(3)").fetchone())
    assert caught.value.retry_after == 1
    id_ = await begun(storage)

    async def together() -> Sequence[object]:
        slow = storage._write(lambda db: db.execute("SELECT pg_sleep(3)").fetchone())
        adding = storage.add_messages(ME, id_, [message("in time")])
        answers: Sequence[object] = await asyncio.gather(slow, adding, return_exceptions=True)
        return answers

    refused, added = await stalls.undisturbed(together)
    assert isinstance(refused, Unavailable)
    assert added is None
    assert set(await opened.texts(id_)) == {"in time"}


@pytest.mark.forgives_stalls
@pytest.mark.parametrize("pooler", ["none", "transaction"])
@pytest.mark.parametrize(
    "held",
    ["LOCK TABLE conversations", "LOCK TABLE messages", "SELECT 1 FROM conversations WHERE id = '{}' FOR UPDATE"],
)
async def test_write_to_what_something_else_holds_a_lock_on_is_refused_in_time_and_holds_up_no_other_for_long(
    opened: Opened, held: str, pooler: str, stalls: Stalls
) -> None:
    storage = await opened.storage(f"&statement_timeout=2&pooler={pooler}")
    id_, loop = await begun(storage), asyncio.get_running_loop()

    async def seconds(doing: Awaitable[object]) -> float:
        begin = loop.time()
        await doing
        return loop.time() - begin

    async def refused() -> None:
        with pytest.raises(Unavailable, match="Something else holds a lock") as caught:
            await storage.add_messages(ME, id_, [message("refused")])
        assert caught.value.retry_after == 1

    connection = await asyncpg.connect(opened.url)
    async with connection.transaction():
        await connection.execute(held.format(id_))
        took = await asyncio.gather(
            *(seconds(refused()) for _ in range(3)), seconds(storage.register_process("p", lease_ms=HOUR))
        )
        assert max(took) < 2 + stalls.allowance
        # Others have seen that something is locked: they are not held up for as long again.
        again = await asyncio.gather(
            seconds(refused()), seconds(storage.register_process("q", lease_ms=HOUR)), seconds(refused())
        )
        assert max(again) < 1 + stalls.allowance
    await connection.close()
    await storage.add_messages(ME, id_, [message("let in")])
    assert await opened.texts(id_) == ["let in"]


async def test_one_that_times_out_in_a_group_is_tried_once(opened: Opened, stalls: Stalls) -> None:
    storage = await opened.storage("&statement_timeout=1")
    id_ = await begun(storage)
    runs: list[int] = []

    def slow(db: Database) -> None:
        runs.append(1)
        db.execute("UPDATE conversations SET name = 'slow' WHERE id = ?", (id_,))
        db.execute("SELECT pg_sleep(3)")

    async def together() -> list[object]:
        runs.clear()
        behind = [storage.add_messages(ME, id_, [message(str(number))]) for number in range(3)]
        return await asyncio.gather(storage._write(slow), *behind, return_exceptions=True)

    answers = await stalls.undisturbed(together)
    assert [type(answer) for answer in answers] == [Unavailable, *3 * [type(None)]]
    assert len(runs) == 1
    assert set(await opened.texts(id_)) == {"0", "1", "2"}


async def test_nothing_is_kept_on_a_connection_where_a_pooler_is_in_between(opened: Opened) -> None:
    storage = await opened.storage("&pooler=transaction")
    id_ = await begun(storage)
    await storage.add_messages(ME, id_, [message("one"), message("two")])
    await storage.fetch_conversation(ME, id_)
    kept = await storage._read(lambda db: db.execute("SELECT count(*) FROM pg_prepared_statements").fetchone())
    assert kept == (0,)
    assert await opened.texts(id_) == ["one", "two"]


async def test_schema_is_made_and_upgraded_through_a_pooler(postgres: PostgresServer, pooler: Pooler) -> None:
    fresh, older = postgres.database(), postgres.database()
    await migrations.upgrade_postgres(PostgresAddress.of(older).connect, 1, "0001")
    for url in (fresh, older):
        storages = [PostgresStorage(pooler.url(url)) for _ in range(3)]
        await asyncio.gather(*(storage.open() for storage in storages))
        await asyncio.gather(*(storage.close() for storage in storages))
        assert await executed(url, "SELECT version_num FROM alembic_version") == [(SCHEMA_VERSION,)]


async def test_pooler_that_the_url_does_not_tell_of_is_guessed(postgres: PostgresServer, pooler: Pooler) -> None:
    url = pooler.url(postgres.database()).partition("?")[0]
    with pytest.raises(Unavailable, match=r"startup parameter.*add `pooler=transaction`"):
        await PostgresStorage(url).open()


@pytest.mark.forgives_stalls
async def test_many_processes_share_few_connections_of_a_pooler(opened: Opened, pooler: Pooler) -> None:
    storages = [PostgresStorage(pooler.url(opened.url), clock=StillClock()) for _ in range(6)]
    await asyncio.gather(*(storage.open() for storage in storages))
    await storages[0].ensure_account(Account(ME, "me"), now=START)
    ids = [await begun(storages[0]) for _ in range(4)]

    async def work(number: int, storage: PostgresStorage) -> None:
        await storage.add_messages(ME, ids[number % 4], [message(str(number))])
        await storage.fetch_conversation(ME, ids[number % 4])

    await asyncio.gather(*(work(number, storages[number % 6]) for number in range(120)))
    connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert (await executed(opened.url, connections))[0][0] <= 4
    await asyncio.gather(*(storage.close() for storage in storages))
    texts = [text for id_ in ids for text in await opened.texts(id_)]
    assert sorted(texts, key=int) == [str(number) for number in range(120)]


# Groups


async def test_bad_one_of_a_group_fails_alone(opened: Opened) -> None:
    storage = await opened.storage()
    id_, known = await begun(storage), message("known")
    await storage.add_messages(ME, id_, [known])
    answers = await asyncio.gather(
        storage.add_messages(ME, id_, [message("first")]),
        storage.add_messages(ME, id_, [message("again", id=known.id)]),
        storage.add_messages(ME, "nowhere", [message("lost")]),
        storage.publish([published("x")]),
        storage.add_messages(ME, id_, [message("half \ud800")]),
        storage.add_messages(ME, id_, [message("second"), message("third")]),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "NoneType", "Conflict", "NotFound", "list", "BadRequest", "NoneType"
    ]  # fmt: skip
    assert await opened.texts(id_) == ["known", "first", "second", "third"]


async def test_messages_of_one_caller_stay_together_and_in_order_under_load(opened: Opened) -> None:
    storages = [await opened.storage() for _ in range(2)]
    ids = [await begun(storages[0]) for _ in range(3)]

    async def send(sender: int) -> None:
        for number in range(10):
            pair = [message(f"{sender} {number} {part}") for part in "ab"]
            await storages[sender % 2].add_messages(ME, ids[(sender + number) % 3], pair)

    await asyncio.gather(*(send(sender) for sender in range(12)))
    for id_ in ids:
        texts = await opened.texts(id_)
        assert len(texts) == 80
        assert all(one[:-1] == two[:-1] for one, two in zip(texts[::2], texts[1::2], strict=True))
        for sender in range(12):
            numbers = [int(text.split()[1]) for text in texts if text.startswith(f"{sender} ")]
            assert numbers == sorted(numbers)


# Several processes


async def test_changes_of_several_processes_to_one_conversation_all_last(opened: Opened) -> None:
    storages = [await opened.storage() for _ in range(3)]
    id_ = await begun(storages[0])
    await asyncio.gather(
        *(
            storage.update_conversation(ME, id_, {"meta": {f"{which} {number}": True}}, now=START)
            for which, storage in enumerate(storages)
            for number in range(10)
        )
    )
    assert len((await storages[0].fetch_conversation(ME, id_)).meta or {}) == 30


async def test_request_that_comes_through_several_processes_at_once_is_done_once(opened: Opened) -> None:
    storages = [await opened.storage() for _ in range(3)]
    id_ = await begun(storages[0])
    for number in range(10):
        repeated = once(f"key {number}", answer=b"{}")
        answers = await asyncio.gather(
            *(storages[which % 3].add_messages(ME, id_, [message(f"{number}")], once=repeated) for which in range(12)),
            return_exceptions=True,
        )
        assert Counter(type(answer).__name__ for answer in answers) == {"NoneType": 1, "AlreadyDone": 11}
    assert await opened.texts(id_) == [str(number) for number in range(10)]


async def test_key_of_a_request_that_was_refused_is_free(opened: Opened) -> None:
    storage = await opened.storage()
    given = conversation()
    refused = once("key", answer=b"{}")
    with pytest.raises(NotFound):
        await storage.add_messages(ME, given.id, [message("early")], once=refused)
    await storage.create_conversation(ME, given, [])
    await storage.add_messages(ME, given.id, [message("in time")], once=refused)
    assert await opened.texts(given.id) == ["in time"]


async def test_each_lapsed_turn_is_adopted_by_one_process(opened: Opened) -> None:
    storages = [await opened.storage() for _ in range(3)]
    await storages[0].register_process("dead", lease_ms=HOUR)
    for number in range(20):
        turn = new_turn("dead", kind="dispatch", channel_id=f"channel {number}")
        assert await storages[0].queue_turn(turn) is None
    await storages[0].leave_process("dead")
    for which, storage in enumerate(storages):
        await storage.register_process(f"p{which}", lease_ms=HOUR)
    claimed = await asyncio.gather(
        *(storage.claim_lapsed(f"p{which}", limit=15, now=START) for which, storage in enumerate(storages))
    )
    adopted = [(row.id, row.attempt) for rows in claimed for row in rows]
    assert len({id_ for id_, _ in adopted}) == len(adopted) == 20
    assert {attempt for _, attempt in adopted} == {2}


async def test_processes_that_write_to_the_same_conversations_in_other_orders_all_succeed(opened: Opened) -> None:
    storages = [await opened.storage() for _ in range(2)]
    ids = [await begun(storages[0]) for _ in range(6)]
    await asyncio.gather(
        *(
            storage.update_conversation(ME, id_, {"name": f"{which} {number}"}, now=START)
            for which, storage in enumerate(storages)
            for number in range(5)
            for id_ in (ids if which else reversed(ids))
        )
    )


async def test_deleted_conversation_is_not_written_to_by_another_process(opened: Opened) -> None:
    storages = [await opened.storage() for _ in range(2)]
    for _ in range(10):
        id_ = await begun(storages[0])
        answers = await asyncio.gather(
            storages[0].delete_conversation(ME, id_),
            *(storages[1].add_messages(ME, id_, [message(str(number))]) for number in range(5)),
            return_exceptions=True,
        )
        assert answers[0] is None
        assert all(answer is None or isinstance(answer, NotFound) for answer in answers)
        with pytest.raises(NotFound):
            await storages[1].fetch_conversation(ME, id_)
    while await storages[0].purge(now=START):
        pass
    assert await executed(opened.url, "SELECT count(*) FROM messages") == [(0,)]


async def test_texts_hold_any_character(opened: Opened) -> None:
    storage = await opened.storage()
    given = conversation(name="\0", description="a\0b", meta={"k\0": "\ufdd0"})
    texts = ["\0", "\ufdd0", "\ufdd00", "\0\ufdd01\0", "\U0010ffff"]
    await storage.create_conversation(ME, given, [message(text) for text in texts])
    assert await storage.fetch_conversation(ME, given.id) == given
    assert await opened.texts(given.id) == texts
    with pytest.raises(Conflict):
        await storage.create_conversation(ME, given, [])


@pytest.mark.parametrize("statement", ["list_asc", "list_desc"])
async def test_page_of_messages_is_read_along_their_key(opened: Opened, statement: str) -> None:
    text = numbered(load("messages", dialect="postgres")[statement])
    for value in ("7", "100", "10"):
        text = re.sub(r"\$\d", value, text, count=1)
    rows = await executed(f"{opened.url}&enable_seqscan=off&enable_bitmapscan=off", f"EXPLAIN {text}")
    plan = "\n".join(str(row[0]) for row in rows)
    assert "messages_pkey" in plan
    assert re.search(r"Index Cond: \(\(conversation = .*\(sequence [<>] ", plan)
    assert "Sort" not in plan


@pytest.mark.parametrize("ci, outcome", [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_missing_server_fails_in_ci_and_is_skipped_elsewhere(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(own, "binaries", lambda: None)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="install postgresql"), own.own_server():
        pass
