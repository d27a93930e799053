"""Notices: what one process commits is told to the others, and a listener that was away says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from tests.server.pgbouncer import Pooler
from tests.server.postgres import PostgresServer, executed, free_port
from tests.stalls import Stalls

from turnwise.server.errors import NotFound, Unavailable
from turnwise.server.storage import postgres_notices
from turnwise.server.storage.jobs.notices import Notice, tell
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.notices import LARGEST
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.postgres_notices import PostgresNotices, payloads
from turnwise.server.storage.sqlite import SqliteStorage

TOPIC = "test"

NOT_HEARD = "what other processes tell is not heard for now; they are asked instead"
HEARD_AGAIN = "what other processes tell is heard again"


@dataclass
class Ear:
    """What was heard of a topic."""

    bodies: list[object] = field(default_factory=list[object])
    missed: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, body: bytes) -> None:
        self.bodies.append(msgspec.json.decode(body))
        self.changed.set()

    def miss(self) -> None:
        self.missed += 1
        self.changed.set()

    async def until(self, *bodies: object) -> None:
        async with asyncio.timeout(60):
            while self.bodies != list(bodies):
                await self.changed.wait()
                self.changed.clear()

    async def until_missed(self, times: int) -> None:
        async with asyncio.timeout(60):
            while self.missed < times:
                await self.changed.wait()
                self.changed.clear()


@dataclass
class Process:
    """A storage, and what it hears."""

    storage: PostgresStorage
    ear: Ear
    stack: AsyncExitStack

    async def tells(self, *bodies: object) -> None:
        """Tell, in one commit."""

        def job(db: Database) -> None:
            for body in bodies:
                tell(db, TOPIC, body)

        await self.storage._write(job)

    async def loses_its_connection(self) -> None:
        await executed(self.storage._address.url, "SELECT pg_terminate_backend($1)", self.storage._notices._pid)  # type: ignore[union-attr]


@dataclass
class Scene:
    url: str
    stack: AsyncExitStack

    async def process(self, url: str | None = None) -> Process:
        storage = PostgresStorage(url or self.url)
        ear = Ear()
        storage.notices.subscribe(TOPIC, heard=ear.hear, missed=ear.miss)
        await storage.open()
        self.stack.push_async_callback(storage.close)
        # A storage opens after a second without the connection that listens.
        while isinstance(storage.notices, PostgresNotices) and not storage.notices.listening:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        ear.missed = 0
        return Process(storage, ear, self.stack)


@pytest.fixture
async def scene(postgres: PostgresServer) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        yield Scene(postgres.emptied(), stack)


async def test_what_a_process_commits_is_heard_by_the_others_and_not_by_itself(scene: Scene) -> None:
    here, there, elsewhere = await scene.process(), await scene.process(), await scene.process()
    await here.tells({"a": "Grüße \0 😀"}, 2)
    await there.ear.until({"a": "Grüße \0 😀"}, 2)
    await elsewhere.ear.until({"a": "Grüße \0 😀"}, 2)
    await there.tells(3)
    await here.ear.until(3)
    assert here.ear.missed == there.ear.missed == 0


async def test_what_was_not_committed_is_not_told(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()

    def refused(db: Database) -> None:
        tell(db, TOPIC, "refused")
        raise NotFound("no")

    def undone(db: Database) -> None:
        tell(db, TOPIC, "undone")
        db.execute("UPDATE alembic_version SET version_num = version_num")
        raise NotFound("no")

    results = await asyncio.gather(
        here.storage._write(refused), here.tells(1), here.storage._write(undone), here.tells(2), return_exceptions=True
    )
    assert [type(result) for result in results] == [NotFound, type(None), NotFound, type(None)]
    await there.ear.until(1, 2)


async def test_many_notices_come_whole_and_in_order(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()
    bodies = [f"{number} {'x' * (number % 900)}" for number in range(3000)]
    await here.tells(*bodies[:1000])
    await asyncio.gather(*(here.tells(*bodies[begin : begin + 100]) for begin in range(1000, 3000, 100)))
    await there.ear.until(*bodies)


async def test_a_listener_that_was_cut_off_is_told_that_it_missed_something_and_hears_again(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()
    await there.loses_its_connection()
    await there.ear.until_missed(2)  # when it is lost, and when it is back
    assert there.storage.notices.listening
    await here.tells("after")
    await there.ear.until("after")


async def test_others_are_told_to_read_up_where_the_teller_was_cut_off(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()
    await here.loses_its_connection()
    while here.storage.notices.listening:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)
    await here.tells("lost")
    await there.ear.until_missed(1)
    assert there.ear.bodies == []
    await here.tells("told")
    await there.ear.until("told")


async def test_what_was_told_last_is_heard_of_a_process_that_closes(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()
    await here.tells("goodbye")
    await here.storage.close()
    await there.ear.until("goodbye")


async def test_nobody_hears_who_has_stopped_to(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()
    ear = Ear()
    stop = there.storage.notices.subscribe(TOPIC, heard=ear.hear, missed=ear.miss)
    await here.tells(1)
    await ear.until(1)
    stop()
    stop()
    await here.tells(2)
    await there.ear.until(1, 2)
    assert ear.bodies == [1]


async def test_a_subscriber_that_fails_keeps_nothing_from_the_others(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(body: bytes = b"") -> None:
        raise OSError(f"cannot act on {body!r}")

    here, there = await scene.process(), await scene.process()
    ear = Ear()
    there.storage.notices.subscribe("before", heard=fail, missed=fail)
    there.storage.notices.subscribe("before", heard=ear.hear, missed=ear.miss)

    def job(db: Database) -> None:
        tell(db, "before", 1)
        tell(db, TOPIC, 2)

    await here.storage._write(job)
    await ear.until(1)
    await there.ear.until(2)
    await there.loses_its_connection()
    await ear.until_missed(2)
    assert "cannot act on b'1'" in caplog.text


async def test_behind_a_transaction_pooler_notices_need_an_address_of_their_own(scene: Scene, pooler: Pooler) -> None:
    here = await scene.process()
    deaf = await scene.process(pooler.url(scene.url))
    there = await scene.process(f"{pooler.url(scene.url)}&listen={quote(scene.url, safe='')}")
    assert (deaf.storage.notices.listening, there.storage.notices.listening) == (False, True)
    await there.tells(1)
    await here.ear.until(1)
    await here.tells(2)
    await there.ear.until(2)
    await deaf.tells(3)
    assert deaf.ear.bodies == []


async def test_listening_to_another_database_or_schema_is_refused_at_the_start(
    postgres: PostgresServer, pooler: Pooler
) -> None:
    url, other = postgres.database(), postgres.database()
    await executed(url, "CREATE SCHEMA beside")
    for elsewhere in (other, f"{url}&search_path=beside"):
        for begin in (f"{url}&", f"{pooler.url(url)}&"):
            storage = PostgresStorage(f"{begin}listen={quote(elsewhere, safe='')}")
            with pytest.raises(Unavailable, match=r"`listen` leads to another database or schema .*Let it name the"):
                await storage.open()
            assert not storage.notices.listening
    at_the_right_place = PostgresStorage(f"{pooler.url(url)}&listen={quote(url, safe='')}")
    await at_the_right_place.open()
    assert at_the_right_place.notices.listening
    await at_the_right_place.close()


async def test_a_listener_that_only_later_turns_out_to_be_elsewhere_hears_nothing_and_says_so_once(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_notices, "LONGEST_PAUSE", 0.01)
    url, other = postgres.database(), postgres.database()
    await executed(postgres.url(), "CREATE ROLE late LOGIN CONNECTION LIMIT 0")
    late = other.replace("postgres@", "late@")
    storage = PostgresStorage(f"{url}&listen={quote(late, safe='')}")
    await storage.open()
    await executed(postgres.url(), "ALTER ROLE late CONNECTION LIMIT -1")
    async with asyncio.timeout(60):
        while "another database or schema" not in caplog.text:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert not storage.notices.listening
    assert [record.message.partition(": ")[0] for record in caplog.records] == [NOT_HEARD, NOT_HEARD]
    await storage.close()
    await executed(postgres.url(), "DROP ROLE late")


async def test_an_address_to_listen_at_that_is_away_delays_no_start_and_is_logged_once_until_it_is_back(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "turnwise.server")
    monkeypatch.setattr(postgres_notices, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(postgres_notices, "START", 30)
    url, port = postgres.database(), free_port()
    storage = PostgresStorage(f"{url}&listen={quote(f'postgresql://postgres@127.0.0.1:{port}{urlsplit(url).path}')}")

    joined: set[asyncio.Task[None] | None] = set()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        joined.add(asyncio.current_task())
        back, there = await asyncio.open_unix_connection(postgres.folder / ".s.PGSQL.5432")
        await asyncio.gather(passed(reader, there), passed(back, writer))

    begin = time.monotonic()
    await storage.open()
    assert time.monotonic() - begin < 20
    await asyncio.sleep(0.3)
    assert [record.message.partition(": ")[0] for record in caplog.records] == [NOT_HEARD]
    async with await asyncio.start_server(join, "127.0.0.1", port):
        async with asyncio.timeout(60):
            while not storage.notices.listening:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert [record.message.partition(": ")[0] for record in caplog.records] == [NOT_HEARD, HEARD_AGAIN]
        await storage.close()
        await asyncio.wait({task for task in joined if task is not None}, timeout=60)


async def test_an_address_to_listen_at_that_does_not_answer_holds_up_a_start_for_a_second_at_most(
    postgres: PostgresServer, stalls: Stalls
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/any"
        storage = PostgresStorage(f"{postgres.database()}&listen={quote(name, safe='')}")
        begin = time.monotonic()
        await storage.open()
        assert time.monotonic() - begin < 2 + stalls.allowance
        await storage.close()


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_notice_that_another_version_sends_is_taken_as_one_that_was_missed(scene: Scene) -> None:
    here = await scene.process()
    await executed(scene.url, "SELECT pg_notify('turnwise:public', 'what?')")
    await here.ear.until_missed(1)


async def test_telling_over_sqlite_does_nothing(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "turnwise.db")
    await storage.open()
    await storage._write(lambda db: tell(db, TOPIC, 1))
    assert not storage.notices.listening
    ear = Ear()
    storage.notices.subscribe(TOPIC, heard=ear.hear, missed=ear.miss)()
    await storage.close()


async def test_a_notice_is_small(scene: Scene) -> None:
    here, there = await scene.process(), await scene.process()
    with pytest.raises(ValueError, match="notice of 'test' has 7001 bytes"):
        await here.tells("x" * (LARGEST - 1))
    await here.tells("x" * (LARGEST - 2))
    await there.ear.until("x" * (LARGEST - 2))


def test_as_many_notices_go_together_as_fit() -> None:
    texts = list(payloads([Notice("t", b'"%b"' % (b"x" * 700)) for _ in range(25)]))
    assert [len(msgspec.json.decode(text)) for text in texts] == [11, 11, 3]
    assert max(len(text) for text in texts) <= 7900
