"""`turnwise serve --workers N`, as processes over PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import aiohttp
import pytest
from tests.server.models.upstream import FakeUpstream, reply
from tests.server.postgres import PostgresServer
from tests.stalls import Stalls

from turnwise import AsyncTurnwise, TurnwiseError
from turnwise.types.event import CompleteEvent

pytestmark = [pytest.mark.slow, pytest.mark.forgives_stalls]

SECRET = "tw_secret_of_the_workers_tests"
SERVE = (sys.executable, "-m", "turnwise", "serve", "--port", "0")

IMPATIENT = (
    sys.executable,
    "-c",
    """
from turnwise._entry import main
from turnwise.server.workers import supervisor

supervisor.MOST_MISSED = 4
main()
""",
    *SERVE[3:],
)
"""The same, of which a worker that is silent for four seconds is taken to hang."""


@dataclass
class Served:
    """A supervisor and its workers."""

    process: subprocess.Popen[str]
    log: Path
    url: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def text(self) -> str:
        """All that went to stderr."""
        return self.log.read_text()

    def workers(self) -> list[int]:
        """The workers' ids, the oldest first."""
        return children(self.pid)

    def lines(self) -> list[dict[str, object]]:
        """What was logged."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def said(self, message: str) -> int:
        """How many log lines say this."""
        return sum(message in str(line["message"]) for line in self.lines())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def status(self, within: float = 60) -> int:
        """Wait for the supervisor's end; return its exit status."""
        return self.process.wait(within)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return sorted(int(line) for line in found.stdout.split())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextmanager
def serving(
    log: Path, database: str, *arguments: str, program: Sequence[str] = SERVE, **environ: str
) -> Generator[Served]:
    """Start workers, and wait until they are ready, or not to be."""
    with starting(log, database, *arguments, program=program, **environ) as served:
        served.url = served.stdout.readline().strip().removeprefix("listening on ")
        yield served


@contextmanager
def starting(
    log: Path, database: str, *arguments: str, program: Sequence[str] = SERVE, **environ: str
) -> Generator[Served]:
    """Start workers; whatever becomes of them, none is left."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("TURNWISE_", "OPENAI_"))}
    unlimited = {f"TURNWISE_MAX_ACCOUNT_{what}": "0" for what in ("REQUESTS", "MESSAGES", "TOKENS", "TURNS")}
    own = {
        **unlimited,
        "TURNWISE_DATABASE_URL": database,
        "TURNWISE_WORKERS": "2",
        "TURNWISE_SECRET": SECRET,
        "TURNWISE_DISCOVER": "false",
        "TURNWISE_LOG_FORMAT": "json",
    }
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*program, *arguments], env={**bare, **own, **environ}, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    served = Served(process, log)
    try:
        yield served
    finally:
        left = served.workers()
        process.kill()
        process.communicate()
        for pid in filter(alive, left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    return postgres.emptied()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def replaced(served: Served, times: int) -> bool:
    return served.said("all workers were replaced") == times


def another(served: Served, known: set[int]) -> bool:
    return not known.issuperset(served.workers())


async def until(condition: Callable[[], bool], within: float = 60) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - it is another process that changes it
            await asyncio.sleep(0.05)


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[AsyncTurnwise]:
    """A client that tries nothing twice."""
    async with AsyncTurnwise(secret=SECRET, base_url=url, retries=0) as client:
        yield client


@dataclass
class Load:
    """Requests without a pause, on kept connections and on new ones, and replies that are streamed."""

    url: str
    done: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])
    over: bool = False

    @asynccontextmanager
    async def running(self, *, streams: int = 0) -> AsyncGenerator[None]:
        async with connected(self.url) as client, fresh_connections() as session:
            conversation = (await client.conversation.create()).id
            work = [asyncio.create_task(self._kept(client, conversation)) for _ in range(4)]
            work += [asyncio.create_task(self._fresh(session)) for _ in range(2)]
            work += [asyncio.create_task(self._streamed(client)) for _ in range(streams)]
            try:
                yield
            finally:
                self.over = True
                await asyncio.gather(*work)

    async def _kept(self, client: AsyncTurnwise, conversation: str) -> None:
        async def send() -> None:
            await client.conversation.send(conversation, text="on a kept connection")

        await self._repeat("kept", send)

    async def _fresh(self, session: aiohttp.ClientSession) -> None:
        async def send() -> None:
            async with session.post(f"{self.url}/v1/conversation/create", json={}) as answer:
                assert answer.status == 200, await answer.text()

        await self._repeat("fresh", send)

    async def _streamed(self, client: AsyncTurnwise) -> None:
        async def complete() -> None:
            conversation = await client.conversation.create()
            async with client.conversation.complete_stream(conversation.id, text="hi") as stream:
                last = [event async for event in stream][-1]
            assert last.type == "result", last

        await self._repeat("streamed", complete)

    async def _repeat(self, kind: str, once: Callable[[], Awaitable[None]]) -> None:
        while not self.over:
            try:
                await once()
                self.done[kind] += 1
            except (TurnwiseError, aiohttp.ClientError, AssertionError) as error:
                self.problems.append(f"{kind}: {error!r}")
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fresh_connections() -> AsyncGenerator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), headers=headers) as session:
        yield session


def raw_connection(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)


def refuses(url: str) -> bool:
    try:
        raw_connection(url).close()
    except ConnectionRefusedError:
        return True
    return False


def ask(connection: socket.socket, path: str = "/readyz") -> tuple[int, bytes]:
    """Ask on a kept connection; return the answer's status and all that came."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    came = b""
    while b"}" not in came:
        block = connection.recv(65536)
        assert block, came
        came += block
    return int(came.split()[1]), came


async def test_all_workers_serve_on_the_port_that_one_line_tells(database: str, log: Path) -> None:
    with serving(log, database, TURNWISE_WORKERS="3") as served:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", served.url)
        assert len(served.workers()) == 3
        connections = [raw_connection(served.url) for _ in range(90)]
        with contextlib.ExitStack() as opened:
            for connection in connections:
                opened.enter_context(connection)
            assert {ask(connection)[0] for connection in connections} == {200}
        served.signal(signal.SIGTERM)
        assert served.status() == 0
        assert served.stdout.read() == ""
        answered = Counter(line["pid"] for line in served.lines() if line["message"] == "request")
        assert len(answered) == 3
        assert min(answered.values()) >= 10  # 30 are expected of each


async def test_a_secret_is_made_and_shown_once_for_all_workers(postgres: PostgresServer, log: Path) -> None:
    with serving(log, postgres.database(), TURNWISE_WORKERS="3", TURNWISE_SECRET="") as served:
        shown = re.findall(r"^    (tw_\S+)$", served.text, re.MULTILINE)
        assert len(shown) == 1
        for _ in range(12):  # each on a new connection, and so on all of the workers
            async with AsyncTurnwise(secret=shown[0], base_url=served.url) as client:
                await client.conversation.list()
    assert served.text.count("No model server is configured") == 1


def test_workers_listen_on_ipv6_too(database: str, log: Path) -> None:
    with serving(log, database, "--host", "::1") as served:
        assert re.fullmatch(r"http://\[::1\]:\d+", served.url)
        with raw_connection(served.url) as connection:
            assert ask(connection)[0] == 200


def test_a_port_that_other_workers_listen_on_is_refused(database: str, log: Path, tmp_path: Path) -> None:
    with serving(log, database) as served:
        port = served.url.rpartition(":")[2]
        with serving(tmp_path / "second", database, "--port", port) as second:
            assert (second.url, second.status()) == ("", 1)
            assert "Address already in use. Choose another with --host and --port" in second.text


def test_workers_on_sqlite_are_refused_with_the_reason(tmp_path: Path, log: Path) -> None:
    with serving(log, f"sqlite:///{tmp_path / 'one.db'}") as served:
        assert (served.url, served.status()) == ("", 2)
    said = log.read_text()
    assert "workers: 2 processes need PostgreSQL" in said
    assert "--database (TURNWISE_DATABASE_URL)" in said
    assert not (tmp_path / "one.db").exists()


async def test_workers_that_are_told_to_stop_while_they_start_do(database: str, log: Path) -> None:
    with starting(log, database) as served:
        await until(lambda: len(served.workers()) == 1)
        served.signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.status) == 0
        assert served.stdout.read() == ""


def test_a_worker_that_cannot_start_ends_the_start_with_its_reason(tmp_path: Path, log: Path) -> None:
    with serving(log, f"postgresql://nobody@/nothing?host={tmp_path}") as served:
        assert (served.url, served.status()) == ("", 1)
    said = log.read_text()
    assert "cannot be reached" in said
    assert "Traceback" not in said


def test_what_is_set_wrongly_is_told_as_by_one_process(log: Path) -> None:
    told: list[str] = []
    for workers in ("1", "2"):
        with serving(log, "postgresql://nobody@here:99999/nothing", TURNWISE_WORKERS=workers) as served:
            assert (served.url, served.status()) == ("", 2)
        told.append(served.text.splitlines()[-1])
    assert told[0] == told[1]
    assert "its host or port is not one" in told[0]


async def test_a_killed_worker_loses_its_own_requests_alone_and_is_replaced(database: str, log: Path) -> None:
    with serving(log, database) as served:
        load = Load(served.url)
        async with load.running():
            await until(lambda: load.done["kept"] > 50)
            victim, other = served.workers()
            os.kill(victim, signal.SIGKILL)
            await until(lambda: len(served.workers()) == 2 and victim not in served.workers())
            before = load.done["kept"]
            await until(lambda: load.done["kept"] > before + 50 and served.said("a worker is ready") == 3)
        assert other in served.workers()
        assert len(load.problems) <= 6  # as many as were asked at once
        assert served.said("a worker ended by SIGKILL") == 1


async def test_workers_are_replaced_without_a_failed_request(database: str, log: Path) -> None:
    words = [f"word{index} " for index in range(20)]
    async with FakeUpstream(reply(*words, delay=0.03)) as upstream:
        with serving(log, database, "--model", "m", OPENAI_BASE_URL=upstream.base_url) as served:
            load = Load(served.url)
            async with load.running(streams=4):
                for turn in (1, 2):
                    before = set(served.workers())
                    await until(lambda: load.done["streamed"] > 4)
                    served.signal(signal.SIGHUP)
                    await until(partial(replaced, served, turn))
                    assert before.isdisjoint(served.workers())
                    assert len(served.workers()) == 2
            assert load.problems == []
            assert min(load.done[kind] for kind in ("kept", "fresh")) > 100
            assert load.done["streamed"] > 8


async def test_a_follower_of_background_work_does_not_notice_that_workers_are_replaced(
    database: str, log: Path
) -> None:
    words = [f"word{index} " for index in range(60)]
    async with FakeUpstream(reply(*words, delay=0.05)) as upstream:
        environ = {"OPENAI_BASE_URL": upstream.base_url, "TURNWISE_GRACE": "0.5"}
        with serving(log, database, "--model", "m", **environ) as served:
            async with AsyncTurnwise(secret=SECRET, base_url=served.url) as client:
                conversation = await client.conversation.create()
                events: list[CompleteEvent] = []
                async with client.conversation.complete_stream(conversation.id, text="hi", resumable=True) as stream:
                    async for event in stream:
                        if not events:
                            served.signal(signal.SIGHUP)
                        events.append(event)
                await until(partial(replaced, served, 1))
                messages = [message.text async for message in client.conversation.message.list(conversation.id)]
            assert messages == ["hi", "".join(words)] or messages == ["".join(words), "hi"]
            assert stream.text == "".join(words)


async def test_the_load_balancer_is_told_and_replies_end_before_the_server_does(database: str, log: Path) -> None:
    words = [f"word{index} " for index in range(30)]
    async with FakeUpstream(reply(*words, delay=0.2)) as upstream:
        environ = {"OPENAI_BASE_URL": upstream.base_url, "TURNWISE_DRAIN_DELAY": "2.5"}
        with serving(log, database, "--model", "m", **environ) as served:
            async with connected(served.url) as client, fresh_connections() as session:
                conversation = await client.conversation.create()
                kept = raw_connection(served.url)
                assert ask(kept)[0] == 200
                async with client.conversation.complete_stream(conversation.id, text="hi") as stream:
                    await anext(aiter(stream))
                    served.signal(signal.SIGTERM)
                    await asyncio.sleep(1)
                    with kept:
                        status, answer = ask(kept)
                        assert (status, b"connection: close" in answer, kept.recv(100)) == (503, True, b"")
                    with raw_connection(served.url) as late:
                        assert ask(late)[0] == 503
                    async with session.post(f"{served.url}/v1/conversation/create", json={}) as answered:
                        assert (answered.status, answered.headers["connection"]) == (200, "close")
                    await until(partial(refuses, served.url))
                    assert "word29" not in stream.text
                    async for _ in stream:
                        pass
                assert stream.text == "".join(words)
                assert served.status() == 0


async def test_a_second_interrupt_ends_at_once(database: str, log: Path, stalls: Stalls) -> None:
    async with FakeUpstream(reply("slow ", *["word "] * 1000, delay=0.1)) as upstream:
        with serving(log, database, "--model", "m", OPENAI_BASE_URL=upstream.base_url) as served:
            workers = served.workers()
            async with connected(served.url) as client:
                conversation = await client.conversation.create()
                async with client.conversation.complete_stream(conversation.id, text="hi") as stream:
                    await anext(aiter(stream))
                    served.signal(signal.SIGINT)
                    await asyncio.sleep(0.5)
                    assert served.process.poll() is None
                    asked = time.monotonic()
                    served.signal(signal.SIGINT)
                    assert await asyncio.to_thread(served.status) == 0
                    assert time.monotonic() - asked < 5 + stalls.allowance
            assert not any(map(alive, workers))


async def test_workers_leave_when_their_supervisor_is_killed(database: str, log: Path) -> None:
    with serving(log, database) as served:
        workers = served.workers()
        os.kill(served.pid, signal.SIGKILL)
        await until(lambda: not any(map(alive, workers)), within=10)
        with pytest.raises(ConnectionRefusedError):
            raw_connection(served.url)


def test_a_terminal_that_is_closed_ends_the_workers_instead_of_replacing_them(database: str) -> None:
    ours, theirs = os.openpty()
    # The first terminal that a session's leader opens is its controlling one, and the leader hears of its end.
    begin = f"import os, sys; os.open({os.ttyname(theirs)!r}, os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", begin, *SERVE, "--workers", "2", "--database", database],
        env={**os.environ, "TURNWISE_SECRET": SECRET, "TURNWISE_LOG_LEVEL": "error"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        try:
            os.close(theirs)
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"listening on ")
            workers = children(process.pid)
            assert len(workers) == 2
            os.close(ours)
            assert process.wait(15) == 0
            assert not any(map(alive, workers))
        finally:
            process.kill()


async def test_settings_that_cannot_be_leave_the_workers_that_run(database: str, log: Path, tmp_path: Path) -> None:
    file = tmp_path / "turnwise.toml"
    file.write_text("grace = 5\n")
    with serving(log, database, TURNWISE_CONFIG=str(file)) as served:
        before = served.workers()
        file.write_text("grace = -1\n")
        served.signal(signal.SIGHUP)
        await until(lambda: served.said("the rolling restart ends here") == 1)
        assert served.workers() == before
        file.write_text('grace = 5\nlog_level = "warning"\n')
        served.signal(signal.SIGHUP)
        await until(partial(replaced, served, 1))
        assert len(served.workers()) == 2
        with raw_connection(served.url) as connection:
            assert ask(connection)[0] == 200
        served.signal(signal.SIGTERM)
        assert served.status() == 0
        assert served.said("request") == 0  # by the new level


async def test_a_worker_that_dies_before_it_is_ready_is_started_again_after_growing_pauses(
    database: str, log: Path
) -> None:
    with serving(log, database) as served:
        victim, other = served.workers()
        for _ in range(4):
            os.kill(victim, signal.SIGKILL)
            await until(partial(another, served, {victim, other}))
            victim = served.workers()[-1]
        await until(lambda: served.said("a worker is ready") == 3)
        assert (served.said("the next try is in 0.25 s"), served.said("the next try is in 0.5 s")) == (1, 1)
        assert served.workers() == [other, victim]
        for _ in range(8):
            with raw_connection(served.url) as connection:
                assert ask(connection)[0] == 200


async def test_a_worker_that_hangs_is_killed_and_replaced(database: str, log: Path) -> None:
    with serving(log, database, program=IMPATIENT) as served:
        victim, other = served.workers()
        os.kill(victim, signal.SIGSTOP)
        await until(lambda: served.said("a worker is ready") == 3)
        assert victim not in served.workers()
        assert other in served.workers()
        assert served.said("gave no sign of life for 4 seconds") == 1
        for _ in range(8):
            with raw_connection(served.url) as connection:
                assert ask(connection)[0] == 200


async def test_a_machine_that_stands_still_costs_no_worker(database: str, log: Path) -> None:
    with serving(log, database, program=IMPATIENT) as served:
        workers = served.workers()
        for pid in (*workers, served.pid):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(6)
        for pid in (served.pid, *workers):
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(0.5)
        await asyncio.sleep(5)
        assert served.workers() == workers
        assert served.said("no sign of life") == 0
