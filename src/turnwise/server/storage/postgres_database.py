"""The PostgreSQL database: connections, and the schema they expect.

An empty database is given its tables by generated SQL; an older schema is upgraded by Alembic, which only then is
imported. Both happen in one transaction under an advisory lock, so that processes which start at once wait for each
other and find the work done.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg

from turnwise.server.errors import Unavailable
from turnwise.server.storage.database import (
    BASE,
    POSTGRES_SCHEMA_FILE,
    SCHEMA_VERSION,
    check_version,
    of_something_else,
    without_tables,
)
from turnwise.server.storage.postgres_connection import LOST, away

if TYPE_CHECKING:
    from turnwise.server.storage.postgres_connection import Connection

__all__ = ["EXPECTED", "PATIENCE", "PostgresAddress", "prepare", "reach", "refusals"]

EXPECTED: Final = "Expected postgresql://user:password@host:5432/database."

OLDEST: Final = 15
"""The first version of PostgreSQL that is tested."""

SCHEMA_LOCK: Final = 0x7475726E77697365
"""The advisory lock under which the schema is made or changed: "turnwise" in ASCII."""

MARGIN: Final = 2.0
"""Seconds after a statement's own timeout when the connection is given up."""

PATIENCE: Final = 3600.0
"""Seconds that an operator's statement may take: one that makes or changes the schema, or waits for another's."""

CONNECTING: Final = 5.0
"""Seconds that connecting may take."""

KEEPALIVE: Final = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
"""In these seconds PostgreSQL notices a process that is no longer there."""


@dataclass(frozen=True, slots=True, repr=False)
class PostgresAddress:
    """Where the database is, and how it is used; its repr and its texts hide the password."""

    url: str
    """For asyncpg: what it knows of the URL's parameters, without ours."""
    label: str
    """The same for people to read, without password and parameters."""
    pool_size: int = 10
    """Connections that read, beside the one that writes."""
    statement_timeout: float = 10.0
    """Seconds that a statement may take."""
    lock_timeout: float = 2.0
    """Seconds that it may wait for a lock, which are at most half of the statement's. PostgreSQL looks for deadlocks
    after one second."""
    pooled: bool = False
    """A pooler in transaction mode is in between: nothing is kept on a connection from one transaction to the next."""
    listen: str | None = None
    """Where to listen for notices, past the pooler; unless given, at `url`, or nowhere behind a pooler."""

    @classmethod
    def of(cls, url: str) -> PostgresAddress:
        """Read a URL; `ValueError`, which repeats nothing of it that may be secret, for one that is none."""
        try:
            parts = urlsplit(url)
            where = _hosts(parts.netloc)
        except ValueError:
            raise ValueError(f"The database URL cannot be read: its host or port is not one. {EXPECTED}") from None
        if parts.netloc.count("@") > 1 or "@" in parts.path or "@" in parts.fragment:
            raise ValueError(
                f"The database URL's password is not percent-encoded: write @ as %40, / as %2F, # as %23. {EXPECTED}"
            )
        if not parts.path.strip("/"):
            raise ValueError(f"The database URL names no database. {EXPECTED}")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        pool_size = _number("pool_size", given.pop("pool_size", "10"))
        statement_timeout = _number("statement_timeout", given.pop("statement_timeout", "10"))
        pooler = given.pop("pooler", "none")
        if pooler not in {"none", "transaction"}:
            raise ValueError(f"The database URL's pooler is neither `none` nor `transaction`. {EXPECTED}")
        listen = given.pop("listen", None)
        if "," in where:
            given.setdefault("target_session_attrs", "read-write")
        label = f"postgresql://{where or given.get('host', '')}{parts.path}"
        cleaned = parts._replace(scheme="postgresql", query=urlencode(given, quote_via=quote), fragment="").geturl()
        pooled = pooler == "transaction"
        return cls(cleaned, label, pool_size, statement_timeout, pooled=pooled, listen=listen)

    def __repr__(self) -> str:
        return f"PostgresAddress({self.label!r})"

    @property
    def listener(self) -> PostgresAddress | None:
        """The address at which notices are heard; `None` where they cannot be."""
        if self.listen is None:
            return None if self.pooled else self
        return replace(PostgresAddress.of(self.listen), statement_timeout=self.statement_timeout, listen=None)

    @property
    def begin(self) -> str:
        """How a transaction begins."""
        if not self.pooled:
            return "BEGIN"
        return (
            f"BEGIN; SET LOCAL statement_timeout = {self._milliseconds}; SET LOCAL lock_timeout = {self._lock}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {self._idle}"
        )

    async def connect(self) -> Connection:
        """Open a connection; one of `LOST` where that cannot be for now, `Unavailable` where it cannot be at all."""
        try:
            return await asyncpg.connect(
                self.url,
                timeout=min(self.statement_timeout, CONNECTING),
                command_timeout=self.statement_timeout + MARGIN,
                statement_cache_size=0 if self.pooled else 512,
                server_settings=None if self.pooled else self._session,
            )
        except LOST:
            raise
        except (asyncpg.PostgresError, ValueError) as error:
            raise Unavailable(
                f"The database {self.label} refuses the connection: {error}. Check the URL, and that the database and "
                "its user exist."
            ) from error

    @property
    def _session(self) -> dict[str, str]:
        return {
            "application_name": "turnwise",
            "statement_timeout": self._milliseconds,
            "lock_timeout": self._lock,
            "idle_in_transaction_session_timeout": self._idle,
            "jit": "off",
            **KEEPALIVE,
        }

    @property
    def _milliseconds(self) -> str:
        return str(int(self.statement_timeout * 1000))

    @property
    def _lock(self) -> str:
        return str(int(min(self.lock_timeout, self.statement_timeout / 2) * 1000))

    @property
    def _idle(self) -> str:
        """Milliseconds after which PostgreSQL ends a transaction it hears nothing of, so that its locks are free."""
        return str(int(self.statement_timeout * 500))


async def reach(address: PostgresAddress) -> Connection:
    """Open a connection; `Unavailable` where that cannot be."""
    try:
        return await address.connect()
    except asyncpg.TooManyConnectionsError as error:
        raise away(error) from error
    except LOST as error:
        pooler = isinstance(error, asyncpg.ProtocolViolationError) and not address.pooled
        then = "Where a pooler is in between, add `pooler=transaction`" if pooler else "Start it"
        why = str(error) or "it does not answer"
        raise Unavailable(
            f"The database {address.label} cannot be reached: {why}. {then}, or check the URL.",
            retry_after=1,
        ) from error


async def prepare(connection: Connection, address: PostgresAddress, *, migrate: bool = True) -> str | None:
    """Bring the schema up to `SCHEMA_VERSION`; return the version that it had, None where there were no tables.

    A database that is newer or not ours is refused with `Unavailable`; without `migrate`, one that is older too. So is
    PostgreSQL before version 15, a database that does not store every text, and one where it cannot be done.
    """
    _check_server(connection, address)
    with refusals(address):
        return await _prepared(connection, address, migrate=migrate)


@contextmanager
def refusals(address: PostgresAddress) -> Generator[None]:
    """Say as `Unavailable` why a database that answers cannot be made ready, and what to do."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise Unavailable(
            f"The user of {address.label} may not make or use its tables: {error}. Let the database and its tables "
            "belong to that user (ALTER DATABASE name OWNER TO user, ALTER TABLE name OWNER TO user), or grant CREATE "
            "and USAGE on the schema, and ALL on its tables and sequences."
        ) from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise Unavailable(
            f"{address.label} takes no writes: {error}. It is a standby, or default_transaction_read_only is on there. "
            "Name the primary, or all hosts of the cluster with commas between them.",
            retry_after=1,
        ) from error
    except asyncpg.InvalidSchemaNameError as error:
        raise Unavailable(
            f"{address.label} does not have the schema that `search_path` names: {error}. Make it (CREATE SCHEMA "
            "name), or correct the URL."
        ) from error
    except LOST as error:
        raise away(error) from error


async def _prepared(connection: Connection, address: PostgresAddress, *, migrate: bool) -> str | None:
    async with connection.transaction():
        patient = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"
        await connection.execute(f"{patient}; SELECT pg_advisory_xact_lock({SCHEMA_LOCK})", timeout=PATIENCE)
        version = await _version(connection, address)
        if version is None:
            if not migrate:
                raise without_tables(address.label)
            await connection.execute(POSTGRES_SCHEMA_FILE.read_text(encoding="utf-8"))
            return None
    check_version(version, address.label, migrate=migrate)
    if version == SCHEMA_VERSION:
        return version
    from turnwise.server.storage.migrations import upgrade_postgres

    try:
        return await upgrade_postgres(replace(address, statement_timeout=PATIENCE).connect, SCHEMA_LOCK) or BASE
    except Exception as error:
        raise Unavailable(
            f"{address.label} has the older schema version {version} and cannot be upgraded: "
            f"{str(error) or type(error).__name__}. It was left as it was. Start the Turnwise that wrote it, and "
            "report this."
        ) from error


def _check_server(connection: Connection, address: PostgresAddress) -> None:
    version, encoding = connection.get_server_version().major, connection.get_settings().server_encoding
    if version < OLDEST:
        raise Unavailable(f"{address.label} is PostgreSQL {version}. Turnwise expects {OLDEST} or later: upgrade it.")
    if encoding != "UTF8":
        raise Unavailable(
            f"{address.label} has the encoding {encoding}, which does not store every text. Turnwise expects UTF8: "
            "make another database, with ENCODING 'UTF8' TEMPLATE template0."
        )


async def _version(connection: Connection, address: PostgresAddress) -> str | None:
    """Return the version the schema has, None for an empty database; `Unavailable` for one of something else."""
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    tables = {str(row[0]) for row in rows}
    if not tables:
        return None
    if "alembic_version" not in tables or "conversations" not in tables:
        raise of_something_else(address.label, min(tables))
    found = await connection.fetchval("SELECT version_num FROM alembic_version")
    return BASE if found is None else str(found)


def _hosts(netloc: str) -> str:
    """Return the hosts of a URL with their ports, several divided by commas; `ValueError` for what is none."""
    hosts = netloc.rpartition("@")[2]
    for host in hosts.split(","):
        _ = urlsplit(f"//{host}").port
    return hosts


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"The database URL's {name} is not a whole number above 0. {EXPECTED}")
    return int(text)
