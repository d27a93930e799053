"""A PostgreSQL server of the tests' own: started when the first test asks, gone with the last one.

It listens on a socket in its own folder alone, never runs as root, and does not wait for the disk: what survives a
power cut is not what these tests ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar, cast
from urllib.parse import quote

import asyncpg
import pytest

from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.schema import metadata

__all__ = [
    "PostgresServer",
    "binaries",
    "blocking",
    "executed",
    "free_port",
    "free_ports",
    "give_away",
    "own_server",
    "started",
    "unprivileged",
]

T = TypeVar("T")

_OPTIONS = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "shared_buffers=32MB",
    "listen_addresses=",
    "log_min_messages=fatal",
)


@dataclass
class PostgresServer:
    """A running server; its databases are made on request and go with it."""

    folder: Path
    binaries: Path
    options: Sequence[str] = _OPTIONS
    port: int | None = None
    """Where it listens on the loopback, beside its socket."""
    count: Iterator[int] = field(default_factory=itertools.count)
    common: str | None = None

    def url(self, database: str = "postgres") -> str:
        if self.port is not None:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder))}"

    def database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"test_{next(self.count)}"
        blocking(lambda: executed(self.url(), f"CREATE DATABASE {name}"))
        return self.url(name)

    def emptied(self) -> str:
        """Return the URL of a database that has its tables, and nothing in them; the same one each time."""
        if self.common is None:
            self.common = self.database()
            blocking(lambda: _opened_and_closed(PostgresStorage(cast("str", self.common))))
        else:
            blocking(lambda: _emptied(cast("str", self.common)))
        return self.common

    def start(self) -> None:
        own = [f"unix_socket_directories={self.folder}"]
        if self.port is not None:
            own += ["listen_addresses=127.0.0.1", f"port={self.port}"]
        options = " ".join(f"-c {option}" for option in (*self.options, *own))
        self.control("start", "--wait", "--silent", f"--log={self.folder}/log", f"--options={options}")

    def stop(self, mode: str = "immediate") -> None:
        self.control("stop", "--wait", "--silent", f"--mode={mode}")

    def control(self, *arguments: str) -> None:
        """Run pg_ctl as the user that owns the folder."""
        self.run("pg_ctl", f"--pgdata={self.folder}/data", *arguments)

    def run(self, program: str, *arguments: str) -> None:
        command = [*unprivileged(), str(self.binaries / program), *arguments]
        done = subprocess.run(command, check=False, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert done.returncode == 0, f"{program}: {done.stderr.decode()}"


@contextmanager
def own_server() -> Generator[PostgresServer]:
    """Start a server; where there are no binaries, skip, or fail where CI is to have them."""
    found = binaries()
    if found is None:
        missing = "PostgreSQL's initdb and pg_ctl are neither on PATH nor in /usr/lib/postgresql: install postgresql"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(missing)
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="turnwise-pg-"))
    try:
        with started(PostgresServer(folder, found)) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def started(server: PostgresServer, *, stop: str = "immediate") -> Generator[PostgresServer]:
    """Start a server, with a cluster of its own where its folder has none yet; stop it so at the end."""
    if not (server.folder / "data").exists():
        give_away(server.folder)
        initial = "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"
        server.run("initdb", f"--pgdata={server.folder}/data", *initial)
    server.start()
    try:
        yield server
    finally:
        if (server.folder / "data" / "postmaster.pid").exists():
            server.stop(stop)


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return as many, of those that the system gives to no connection: they stay free until somebody listens."""
    found: list[int] = []
    for port in SystemRandom().sample(range(15_000, 32_000), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


def give_away(folder: Path) -> None:
    """Let a folder belong to who runs the server."""
    if os.geteuid() == 0:
        user = _user()
        os.chown(folder, user.pw_uid, user.pw_gid)


async def executed(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of one statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


async def _opened_and_closed(storage: PostgresStorage) -> None:
    await storage.open()
    await storage.close()


async def _emptied(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(";".join(f"DELETE FROM {name}" for name in metadata.tables))  # noqa: S608 - our tables
    finally:
        await connection.close()


def blocking(doing: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end, also where an event loop runs already."""

    async def awaited() -> T:
        return await doing()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(awaited())).result()


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


def _user() -> pwd.struct_passwd:
    """Return who runs the server in root's stead."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def unprivileged() -> list[str]:
    """Return what a command begins with, so that root does not run it."""
    if os.geteuid() != 0:
        return []
    user = _user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
