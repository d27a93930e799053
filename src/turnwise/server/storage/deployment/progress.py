"""How far a copy has come, written down in its target.

While there is the table `copy_progress`, the target's version is `copying`. A row for each table holds how many rows
have been copied and the key of the last one; it is moved in the transaction that adds rows to the table, and only from
where it stood, so that two copies into one target cannot both go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, cast

import msgspec

from turnwise.server.errors import Unavailable
from turnwise.server.storage.database import COPYING, SCHEMA_VERSION, check_version
from turnwise.server.storage.deployment.database import SQL, Deployment, Tables, any_row, version_of
from turnwise.server.storage.deployment.status import live_processes
from turnwise.server.storage.deployment.tables import StoredTable, all_tables, copied_tables
from turnwise.server.storage.jobs.rows import Row

__all__ = ["CopyFailed", "Reached", "begin", "check_current", "finish", "store"]

_SOURCE: Final = ""
"""The row that identifies the source."""


class CopyFailed(Exception):
    """The copy cannot be begun, gone on with or trusted; the message says why and what to do."""


@dataclass(slots=True)
class Reached:
    """How far a table has come."""

    copied: int
    position: Row | None
    """The key of the last row."""


def check_current(version: str, place: str) -> None:
    """Refuse a database whose tables are not of the version that is copied."""
    if version.isdecimal() and int(version) < int(SCHEMA_VERSION):
        raise CopyFailed(
            f"{place} has the older schema version {version}, and what is copied has {SCHEMA_VERSION}. "
            "Run `turnwise database migrate --database URL` on it first."
        )
    try:
        check_version(version, place, migrate=False)
    except Unavailable as error:
        raise CopyFailed(str(error)) from error


async def begin(source: Deployment, target: Deployment, *, restart: bool) -> Mapping[str, Reached]:
    """See to it that the target is being copied into, from this source; return how far each table has come."""
    identity = await source.read(lambda db: _identity(db, source.label))
    version = await target.read(version_of)
    if version == COPYING and restart:
        await target.write(_discard)
        version = None
    if version is None:
        await target.prepare()
        version = SCHEMA_VERSION
    if version != COPYING:
        check_current(version, target.label)
        await target.write(lambda db: _mark(db, target.label, identity))
    # Written, not read: what a copy that was killed had still under way is waited for.
    return await target.write(lambda db: _reached(db, target.label, identity))


def store(db: Tables, table: StoredTable, rows: list[Row], reached: Reached) -> Reached:
    """Add the rows that come next; return how far the table has come with them."""
    position = table.key_of(rows[-1])
    moved = len(rows), msgspec.msgpack.encode(position), table.name, reached.copied
    if db.execute(SQL["move_progress"], moved).rowcount != 1:
        raise CopyFailed("Another copy into the same target is under way. Wait for it, or stop it.")
    db.insert(table, rows)
    return Reached(reached.copied + len(rows), position)


def finish(db: Tables) -> None:
    """Let the target be a deployment like any other."""
    db.execute(SQL["drop_progress"])
    db.execute(SQL["set_version"], (SCHEMA_VERSION,))


def _identity(db: Tables, label: str) -> bytes:
    """Return what tells this deployment from others, by whatever name it is reached."""
    row = db.execute(SQL["signing_key"]).fetchone()
    return sha256(bytes(row[0]) if row else label.encode()).digest()


def _mark(db: Tables, label: str, identity: bytes) -> None:
    """Make an empty database one that is being copied into."""
    filled = [table.name for table in copied_tables() if any_row(db, table.name)]
    if filled and _identity(db, "") == identity:
        raise CopyFailed(
            f"{label} holds this deployment already: an earlier copy into it was finished, and servers can run on it. "
            "To copy it anew, name an empty database."
        )
    if filled:
        raise CopyFailed(
            f"{label} holds data already (in {', '.join(filled)}). A copy needs a database of its own: name one that "
            "is empty."
        )
    if live_processes(db):
        raise CopyFailed(f"A server is running on {label}. Stop it, or name another target.")
    db.execute(SQL["make_progress"])
    db.execute(SQL["begin_progress"], (_SOURCE, identity))
    for table in copied_tables():
        db.execute(SQL["begin_progress"], (table.name, None))
    db.execute(SQL["set_version"], (COPYING,))


def _reached(db: Tables, label: str, identity: bytes) -> Mapping[str, Reached]:
    rows = cast("list[tuple[str, int, bytes | None]]", db.execute(SQL["progress"]).fetchall())
    found = {name: (copied, position) for name, copied, position in rows}
    _, begun_with = found.pop(_SOURCE)
    if begun_with != identity or set(found) != {table.name for table in copied_tables()}:
        raise CopyFailed(
            f"{label} holds a part of another database, or of one that another version of Turnwise began to copy. Go "
            "on with that one, name an empty database, or throw that part away with --restart."
        )
    return {
        name: Reached(copied, None if position is None else cast("Row", tuple(msgspec.msgpack.decode(position))))
        for name, (copied, position) in found.items()
    }


def _discard(db: Tables) -> None:
    """Remove a copy that was begun."""
    for name in (*(table.name for table in all_tables()), "copy_progress", "alembic_version"):
        db.execute(f'DROP TABLE IF EXISTS "{name}"')
