"""PostgreSQL goes away, and comes back: what was acknowledged is there once, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from tests.server.postgres import PostgresServer, executed, free_port, give_away, started
from tests.server.storage.scene import HOUR, START, StillClock, conversation, message, new_turn, once, published
from tests.server.storage.wire import Wire
from tests.stalls import Stalls

from turnwise.server.errors import InDoubt, Unavailable
from turnwise.server.storage.base import Account, AlreadyDone, Exchange
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.journal import Flush, Place
from turnwise.server.storage.postgres import PostgresStorage

ME = "account-me"

MANY = 200
"""What a crowd gets acknowledged at least: else little was tried."""

STORED = "SELECT text FROM messages UNION ALL SELECT convert_from(data, 'UTF8') FROM channel_messages"

END_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()
"""

Doing = Callable[[], Awaitable[object]]


@dataclass
class Outage:
    """A database of the test's own on a server that it may stop, and storages on it."""

    server: PostgresServer
    url: str
    stack: AsyncExitStack
    conversations: list[str] = field(default_factory=list[str])

    async def storage(self, url: str | None = None) -> PostgresStorage:
        storage = PostgresStorage(url or self.url, clock=StillClock())
        await storage.open()
        self.stack.push_async_callback(storage.close)
        return storage

    async def wire(self) -> Wire:
        return await self.stack.enter_async_context(Wire(self.server))

    async def begin(self, storage: PostgresStorage, conversations: int = 1) -> list[str]:
        await storage.ensure_account(Account(ME, "me"), now=START)
        made = [conversation() for _ in range(conversations)]
        for each in made:
            await storage.create_conversation(ME, each, [])
        return [each.id for each in made]

    async def stored(self) -> Counter[str]:
        """Return how often each text is stored as a message, or was published."""
        texts = await executed(self.url, STORED)
        return Counter(str(text) for (text,) in texts)


@pytest.fixture
async def outage(postgres: PostgresServer) -> AsyncIterator[Outage]:
    async with AsyncExitStack() as stack:
        yield Outage(postgres, postgres.emptied(), stack)


@dataclass
class Crowd:
    """Writers that go on, each repeating a request until it is acknowledged or nobody can say what became of it."""

    acknowledged: set[str] = field(default_factory=set[str])
    unknown: set[str] = field(default_factory=set[str])
    moments: list[float] = field(default_factory=list[float])
    over: bool = False

    async def send(self, storage: PostgresStorage, conversation_id: str, name: str, *, keyed: bool) -> None:
        """Send messages; one that is keyed is repeated."""
        number = 0
        while not self.over:
            number += 1
            text = f'"{name} {number}"'
            sent, key = message(text), once(text, answer=b"{}") if keyed else None
            while not await self._tried(lambda: storage.add_messages(ME, conversation_id, [sent], once=key), text):  # noqa: B023
                if not keyed:
                    break

    async def publish(self, storage: PostgresStorage, name: str) -> None:
        number = 0
        while not self.over:
            number += 1
            text = f'"{name} {number}"'
            await self._tried(lambda: storage.publish([published(text, channel=name)]), text)  # noqa: B023

    async def _tried(self, doing: Doing, text: str) -> bool:
        try:
            await doing()
        except AlreadyDone:
            pass
        except Unavailable as refused:
            self.unknown.add(text)
            await asyncio.sleep((refused.retry_after or HOUR) / 10)
            return False
        self.acknowledged.add(text)
        self.moments.append(time.monotonic())
        return True

    def check(self, stored: Counter[str]) -> None:
        """What was acknowledged is there, and nothing is there twice."""
        assert self.acknowledged - stored.keys() == set()
        assert [text for text, count in stored.items() if count > 1] == []
        assert stored.keys() - self.acknowledged - self.unknown == set()

    def longest_silence(self) -> float:
        """The seconds in which nobody got an answer."""
        return max(later - earlier for earlier, later in zip(self.moments, self.moments[1:], strict=False))


async def crowded(outage: Outage, storages: list[PostgresStorage], disturb: Callable[[], Awaitable[None]]) -> Crowd:
    """Let forty write while something happens, and a while longer; return what they found."""
    ids = await outage.begin(storages[0], 8)
    crowd = Crowd()
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            storage, id_ = storages[number % len(storages)], ids[number % len(ids)]
            group.create_task(crowd.send(storage, id_, f"sender {number}", keyed=number % 3 > 0))
        for number in range(10):
            group.create_task(crowd.publish(storages[number % len(storages)], f"publisher {number}"))
        try:
            await disturb()
            await asyncio.sleep(0.5)
            async with asyncio.timeout(60):
                while len(crowd.acknowledged) <= MANY:  # noqa: ASYNC110 - the writers tell nobody
                    await asyncio.sleep(0.1)
        finally:
            crowd.over = True
    return crowd


async def test_restarts_under_load_lose_nothing_and_double_nothing(outage: Outage, stalls: Stalls) -> None:
    storages = [await outage.storage() for _ in range(2)]
    server = outage.server
    down: list[float] = []

    async def restart() -> None:
        for _ in range(3):
            await asyncio.sleep(0.5)
            began = time.monotonic()
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.start)
            down.append(time.monotonic() - began)

    crowd = await crowded(outage, storages, restart)
    crowd.check(await outage.stored())
    assert crowd.longest_silence() < 5 + max(down) + stalls.allowance


@pytest.mark.forgives_stalls
@pytest.mark.usefixtures("patient")
async def test_cuts_of_the_wire_under_load_lose_nothing_and_double_nothing(outage: Outage) -> None:
    wire = await outage.wire()
    storages = [await outage.storage(wire.url(outage.url)), await outage.storage()]

    async def cut() -> None:
        for number in range(20):
            await asyncio.sleep(0.1)
            wire.refusing = number % 5 == 0
            (wire.forsake if number % 2 else wire.cut)()
        wire.refusing = False

    crowd = await crowded(outage, storages, cut)
    crowd.check(await outage.stored())
    assert not crowd.unknown


@pytest.mark.usefixtures("patient")
async def test_commit_whose_answer_is_lost_is_looked_up_and_acknowledged_once(outage: Outage) -> None:
    wire = await outage.wire()
    storage = await outage.storage(wire.url(outage.url))
    (id_,) = await outage.begin(storage)
    await storage.add_messages(ME, id_, [message("first")])

    async def together() -> None:
        answers = await asyncio.gather(
            storage.add_messages(ME, id_, [message("with others")], once=once(answer=b"{}")),
            storage.add_messages(ME, "nowhere", [message("never")]),
            storage.publish([published("published with others")]),
            return_exceptions=True,
        )
        assert [type(answer).__name__ for answer in answers] == ["NoneType", "NotFound", "list"]

    cases: list[tuple[bytes, Doing]] = [
        (b"sent", lambda: storage.add_messages(ME, id_, [message("sent")])),
        (b"COMMIT", lambda: storage.publish([published("published")])),
        (b"COMMIT", together),
    ]
    for last, doing in cases:
        before = sum((await outage.stored()).values())
        wire.mute_after = last
        done = asyncio.ensure_future(doing())
        while sum((await outage.stored()).values()) == before:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)
        assert not done.done()
        wire.mute = False
        wire.cut()
        await done
    assert await outage.stored() == Counter(["first", "sent", "published", "with others", "published with others"])


@pytest.mark.usefixtures("patient")
async def test_what_the_wire_lost_before_its_commit_is_done_again(outage: Outage) -> None:
    wire = await outage.wire()
    storage = await outage.storage(wire.url(outage.url))
    (id_,) = await outage.begin(storage)
    wire.refusing = True
    wire.cut()
    waiting = asyncio.gather(
        storage.add_messages(ME, id_, [message("sent")]),
        storage.publish([published("published")]),
        storage.fetch_conversation(ME, id_),
    )
    await asyncio.sleep(0.5)
    wire.refusing = False
    await waiting
    assert await outage.stored() == Counter(["sent", "published"])


@pytest.mark.usefixtures("patient")
async def test_locks_of_a_lost_connection_do_not_hold_up_the_next(outage: Outage) -> None:
    wire = await outage.wire()
    storage = await outage.storage(f"{wire.url(outage.url)}?statement_timeout=60")
    (id_,) = await outage.begin(storage)
    runs: list[int] = []
    running = asyncio.Event()

    def slow(db: Database) -> None:
        db.execute("UPDATE conversations SET name = 'slow' WHERE id = ?", (id_,))
        runs.append(1)
        running.set()
        if len(runs) == 1:
            db.execute("SELECT pg_sleep(50)")

    begin = time.monotonic()
    writing = asyncio.gather(storage._write(slow), storage.add_messages(ME, id_, [message("behind it")]))
    await running.wait()
    await asyncio.sleep(0.1)
    wire.forsake()
    await writing
    assert time.monotonic() - begin < 25
    assert (await storage.fetch_conversation(ME, id_)).name == "slow"
    assert len(runs) == 2


async def test_silent_wire_ends_in_a_refusal_within_the_statement_timeout(outage: Outage, stalls: Stalls) -> None:
    wire = await outage.wire()
    storage = await outage.storage(f"{wire.url(outage.url)}?statement_timeout=1")
    (id_,) = await outage.begin(storage)
    await storage.add_messages(ME, id_, [message("before")])
    wire.mute = True
    begin = time.monotonic()
    answers = await asyncio.gather(
        storage.add_messages(ME, id_, [message("sent")]),
        storage.fetch_conversation(ME, id_),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [InDoubt, Unavailable]
    assert "may have been or not" in str(answers[0])
    assert time.monotonic() - begin < 10 + stalls.allowance
    wire.mute = False
    wire.cut()
    await storage.add_messages(ME, id_, [message("after")])
    assert await outage.stored() == Counter(["before", "sent", "after"])


@pytest.mark.usefixtures("patient")
async def test_database_that_has_become_a_standby_is_left_for_the_one_that_took_over(outage: Outage) -> None:
    storage = await outage.storage()
    (id_,) = await outage.begin(storage)
    name = urlsplit(outage.url).path[1:]
    await executed(outage.url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await executed(outage.url, END_OTHERS)
    writing = asyncio.ensure_future(storage.add_messages(ME, id_, [message("sent")]))
    await asyncio.sleep(0.5)
    assert not writing.done()
    ready = asyncio.ensure_future(storage.ready())
    await asyncio.sleep(0.3)
    assert not ready.done()
    await executed(outage.server.url(), f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await writing
    assert await ready
    assert await outage.stored() == Counter(["sent"])


async def test_fail_over_to_a_standby_loses_nothing_and_doubles_nothing(
    postgres: PostgresServer, stalls: Stalls
) -> None:
    with ExitStack() as servers:
        folders = [Path(servers.enter_context(TemporaryDirectory(prefix="turnwise-pg-"))) for _ in range(2)]
        primary, standby = (PostgresServer(folder, postgres.binaries, port=free_port()) for folder in folders)
        servers.enter_context(started(primary))
        await executed(primary.url(), "CREATE DATABASE failing")
        both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/failing"
        async with AsyncExitStack() as stack:
            outage = Outage(standby, standby.url("failing"), stack)
            storages = [await outage.storage(both) for _ in range(2)]
            await asyncio.to_thread(copied, primary, standby)
            servers.enter_context(started(standby))
            # From now on a commit is acknowledged once the standby has it.
            await executed(primary.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
            await executed(primary.url(), "SELECT pg_reload_conf()")

            down: list[float] = []

            async def fail_over() -> None:
                await asyncio.sleep(0.5)
                began = time.monotonic()
                await asyncio.to_thread(primary.stop)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(standby.control, "promote", "--wait", "--silent")
                down.append(time.monotonic() - began)
                await asyncio.sleep(1)

            crowd = await crowded(outage, storages, fail_over)
            crowd.check(await outage.stored())
        assert crowd.longest_silence() < 8 + max(down) + stalls.allowance


def copied(primary: PostgresServer, standby: PostgresServer) -> None:
    """Make a folder that a standby can be started on."""
    give_away(standby.folder)
    source = f"--dbname=postgresql://postgres@127.0.0.1:{primary.port}/postgres"
    standby.run(
        "pg_basebackup", source, f"--pgdata={standby.folder}/data", "--write-recovery-conf", "--checkpoint=fast"
    )


async def test_processes_that_work_on_the_same_rows_do_not_lock_each_other_out(outage: Outage) -> None:
    storages = [await outage.storage() for _ in range(2)]
    ids = await outage.begin(storages[0], 6)
    await storages[0].register_process("p", lease_ms=HOUR)
    places: list[Place] = []
    for number, id_ in enumerate(ids):
        turn = new_turn("p", kind="dispatch", conversation_id=id_, channel_id=f"channel {number}")
        assert await storages[0].queue_turn(turn) is None
        places.append(Place(turn_id=turn.id, process_id="p", attempt=1))
        await storages[0].resume_turn(places[-1], None, recent=1, now=START)
    said = [published(f"line {number}", channel=f"channel {number}") for number in range(len(ids))]

    async def work(number: int) -> None:
        step = Exchange(messages=[message(f"step {number}")])
        await storages[0].store_step(places[number], step, steps=b"", published=said[number])
        await storages[0].flush(
            [Flush(place=places[each], text="text", tokens=1, published=said[each]) for each in range(len(ids))]
        )

    async def disturb(number: int) -> None:
        await storages[1].publish([said[number], said[-1 - number]])
        await storages[1].update_conversation(ME, ids[-1 - number], {"name": "changed"}, now=START)
        await storages[1].cancel_turn(ME, conversation_id=ids[number])
        await storages[1].add_messages(ME, ids[number], [message("beside")])

    before = await _deadlocks(outage)
    for _ in range(10):
        await asyncio.gather(*(work(number) for number in range(6)), *(disturb(number) for number in range(6)))
    await outage.stack.aclose()
    assert await _deadlocks(outage) == before


async def _deadlocks(outage: Outage) -> int:
    found = await executed(outage.url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(found[0][0])
