"""Notices over LISTEN and NOTIFY: one connection a process, which nothing else uses.

What jobs told is sent on it right after their commit, in transactions of its own that do not wait for the disk. A
NOTIFY inside the commit would make all processes' commits wait for each other, disk and all: PostgreSQL holds one lock
for it meanwhile. What is told while a send runs goes with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import msgspec

from turnwise.server.errors import Unavailable
from turnwise.server.storage.jobs.notices import Notice
from turnwise.server.storage.postgres_connection import LOST
from turnwise.server.storage.postgres_database import PostgresAddress

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["PostgresNotices", "payloads"]

logger = logging.getLogger("turnwise.server")

LARGEST_PAYLOAD: Final = 7900
"""Bytes; PostgreSQL takes fewer than 8000."""

MOST_WAITING: Final = 20_000
"""Notices that wait to be sent; where there are more, all are dropped, and others are told to read up."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds between tries to connect."""

PULSE: Final = 2.0
"""Seconds of silence after which the connection is tried."""

ANSWER: Final = 5.0
"""Seconds that a send or a try may take before the connection counts as lost."""

START: Final = 1.0
"""Seconds that opening waits for the connection: a server starts without one too."""

PATIENCE: Final = 2.0
"""Seconds that closing waits for the last notices."""

SEND: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) payload"

MISSED: Final = "[]"
"""The payload that says: something was to be told and could not."""

_GONE: Final = (*LOST, asyncpg.PostgresError, Unavailable, TimeoutError)

_PAYLOAD: Final = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


class Elsewhere(Unavailable):
    """The connection that is to listen is not one to the database, or to the schema, that is written to."""


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """Whom to call."""

    topic: str
    heard: Callable[[bytes], None]
    missed: Callable[[], None]


class PostgresNotices:
    """Notices of the processes on one database and schema; opened and closed with the storage."""

    def __init__(self, address: PostgresAddress, *, database: PostgresAddress) -> None:
        """`database` is what is written to; where `address` is another one, both are compared on connecting."""
        self._address = address
        self._database = database
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._waiting: list[Notice] = []
        self._owed = False
        """Whether something was dropped that others should have heard."""
        self._to_do = asyncio.Event()
        self._tried = asyncio.Event()
        """Whether the first attempt to connect has ended, well or not."""
        self._elsewhere: Elsewhere | None = None
        self._logged: type[Exception] | None = None
        """Of the outage that a log knows of: what kind of error it was."""
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._pid = 0
        self.listening = False

    async def open(self) -> None:
        """Begin to listen; where the connection does not come at once, it is tried for on and on.

        Raises `Unavailable` where it leads to another database than the one that is written to.
        """
        self._closing = False
        self._tried.clear()
        self._task = asyncio.create_task(self._listen_forever(), name="turnwise-notices")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START):
                await self._tried.wait()
        if self._elsewhere is not None:
            await self.close()
            raise self._elsewhere
        self._tried.set()

    async def close(self) -> None:
        """Send what waits, and hear nothing more."""
        task, self._task = self._task, None
        if task is None:
            return
        self._closing = True
        self._to_do.set()
        await asyncio.wait([task], timeout=PATIENCE if self.listening else 0)
        task.cancel()
        await asyncio.wait([task])

    def subscribe(  # noqa: D102 - the port, notices.py, says what it promises
        self, topic: str, *, heard: Callable[[bytes], None], missed: Callable[[], None]
    ) -> Callable[[], None]:
        subscription = Subscription(topic, heard, missed)
        self._subscriptions.setdefault(topic, []).append(subscription)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._subscriptions[topic].remove(subscription)

        return stop

    def tell(self, notices: Sequence[Notice]) -> None:
        """Tell other processes what was committed."""
        if not notices:
            return
        if not self.listening or len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            self._owed = True
            return
        self._waiting += notices
        self._to_do.set()

    async def _listen_forever(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing:
            connection: Connection | None = None
            try:
                connection, name = await self._connected()
                pause = FIRST_PAUSE
                self._begin()
                await self._serve(connection, name)
                await connection.close(timeout=PATIENCE)
            except _GONE as error:
                self._note_outage(error)
            finally:
                self._end()
                if connection is not None:
                    connection.terminate()
            if not self._closing:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _connected(self) -> tuple[Connection, str]:
        """Return a connection that listens, and the name of the notifications."""
        connection = await self._address.connect()
        try:
            await self._compare(connection)
            await connection.execute("SET synchronous_commit = off")
            name = f"turnwise:{await connection.fetchval('SELECT current_schema()')}"[:63]
            self._pid = connection.get_server_pid()
            connection.add_termination_listener(self._lost)
            await connection.add_listener(name, self._hear)
        except BaseException:
            connection.terminate()
            raise
        return connection, name

    async def _compare(self, connection: Connection) -> None:
        """Raise `Elsewhere` where a connection that is to listen is not to what is written to."""
        if self._database is self._address:
            return
        written = await self._database.connect()
        try:
            same = await _same_place(written, connection)
        finally:
            await written.close(timeout=PATIENCE)
        if not same:
            raise Elsewhere(
                f"The database URL's `listen` leads to another database or schema ({self._address.label}) than the URL "
                f"itself ({self._database.label}), where nothing is heard of what is stored. Let it name the same "
                "database and `search_path`, past the pooler, or leave it out."
            )

    def _begin(self) -> None:
        self.listening = True
        self._elsewhere = None
        self._tried.set()
        if self._logged is not None:
            self._logged = None
            logger.info("what other processes tell is heard again")
        self._read_up()

    def _note_outage(self, error: Exception) -> None:
        """Log an outage once, however often it is tried to connect; what is refused at the start is not logged."""
        self._elsewhere = error if isinstance(error, Elsewhere) else None
        kind = Elsewhere if self._elsewhere else Unavailable
        starting = not self._tried.is_set()
        self._tried.set()
        if self._logged is kind or (starting and self._elsewhere):
            return
        self._logged = kind
        logger.warning(
            "what other processes tell is not heard for now; they are asked instead: %s",
            str(error) or type(error).__name__,
        )

    def _end(self) -> None:
        self.listening = False
        self._owed = self._owed or bool(self._waiting)
        self._waiting.clear()

    async def _serve(self, connection: Connection, name: str) -> None:
        """Send what is to be sent, until closing; try the connection where nothing is."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PULSE):
                    await self._to_do.wait()
            self._to_do.clear()
            waiting, self._waiting = self._waiting, []
            texts = [MISSED] if self._owed else []
            texts += payloads(waiting)
            self._owed = False
            try:
                await connection.execute(SEND, name, texts, timeout=ANSWER)
            except BaseException:
                self._owed = bool(texts)
                raise
            if self._closing and not self._waiting:
                return

    def _lost(self, _: object) -> None:
        self.listening = False
        self._to_do.set()
        self._read_up()

    def _hear(self, _connection: object, pid: int, _channel: str, payload: object) -> None:
        if pid == self._pid:
            return
        try:
            notices = _PAYLOAD.decode(str(payload))
        except msgspec.DecodeError:
            logger.warning("a notice of another process could not be read: does an older or newer version run there?")
            notices = []
        if not notices:
            self._read_up()
        for topic, body in notices:
            for subscription in tuple(self._subscriptions.get(topic, ())):
                _call(subscription.heard, bytes(body))

    def _read_up(self) -> None:
        for subscriptions in tuple(self._subscriptions.values()):
            for subscription in tuple(subscriptions):
                _call(subscription.missed)


async def _same_place(one: Connection, other: Connection) -> bool:
    """Ask the databases themselves: hosts have many names, and a lock has one holder a database."""
    lock = secrets.randbits(62)
    async with one.transaction():
        mine = await one.fetchrow("SELECT current_schema(), pg_advisory_xact_lock($1)", lock)
        theirs = await other.fetchrow("SELECT current_schema(), pg_try_advisory_xact_lock($1)", lock)
    return mine is not None and theirs is not None and mine[0] == theirs[0] and not theirs[1]


def _call(subscriber: Callable[..., None], *body: bytes) -> None:
    """Call a subscriber; one that fails keeps nothing from the others."""
    try:
        subscriber(*body)
    except Exception:
        logger.exception("a notice could not be acted on")


def payloads(notices: Sequence[Notice]) -> Iterator[str]:
    """Return what to notify: as many notices in each as fit."""
    parts: list[bytes] = []
    size = 2
    for notice in notices:
        part = b"[%b,%b]" % (msgspec.json.encode(notice.topic), notice.body)
        if parts and size + len(part) > LARGEST_PAYLOAD:
            yield f"[{b','.join(parts).decode()}]"
            parts, size = [], 2
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield f"[{b','.join(parts).decode()}]"
