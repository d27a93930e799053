"""What an operator wants to know of a database at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from turnwise.server.storage.database import SCHEMA_VERSION
from turnwise.server.storage.deployment.database import SQL, Deployment, Tables, has_tables, version_of

__all__ = ["DatabaseStatus", "TableCount", "live_processes", "status_of"]

_NOT_OURS: Final = frozenset({"alembic_version", "copy_progress"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCount:
    """How many rows a table has."""

    name: str
    rows: int
    exact: bool
    """Else it is the database's own estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStatus:
    """A database, as it is now."""

    database: str
    """Its URL, without password and parameters."""
    version: str | None
    """Of its tables; None where there are none, or none of Turnwise's."""
    known: str
    """The version this Turnwise works with."""
    size: int
    """Bytes on disk."""
    processes: int
    """Servers that hold a lease."""
    turns: Mapping[str, int]
    """How many are `running` and `waiting`."""
    tables: Sequence[TableCount]

    @property
    def state(self) -> Literal["current", "older", "newer", "copying", "empty", "foreign"]:
        """What its version means to this Turnwise."""
        match self.version:
            case None:
                return "foreign" if self.tables else "empty"
            case known if known == self.known:
                return "current"
            case "copying":
                return "copying"
            case version if version.isdecimal() and int(version) < int(self.known):
                return "older"
            case _:
                return "newer"


async def status_of(deployment: Deployment) -> DatabaseStatus:
    """Look at a database of any version; nothing is changed."""
    version = await deployment.read(version_of)
    found = await deployment.read(has_tables)
    names = sorted(found if version is None else found - _NOT_OURS)
    ours = frozenset(names if version is not None else ())
    return DatabaseStatus(
        database=deployment.label,
        version=version,
        known=SCHEMA_VERSION,
        size=await deployment.size(),
        processes=await deployment.read(live_processes) if "processes" in ours else 0,
        turns=await deployment.read(_unfinished) if "turns" in ours else {"running": 0, "waiting": 0},
        tables=[await _counted(deployment, name) for name in names],
    )


def live_processes(db: Tables) -> int:
    """Return how many servers hold a lease."""
    return int(db.execute(SQL["live"]).fetchone()[0])


async def _counted(deployment: Deployment, name: str) -> TableCount:
    rows, exact = await deployment.read(lambda db: db.estimate(name))
    return TableCount(name=name, rows=rows, exact=exact)


def _unfinished(db: Tables) -> Mapping[str, int]:
    found = {str(state): int(count) for state, count in db.execute(SQL["unfinished"])}
    return {"running": 0, "waiting": 0} | found
