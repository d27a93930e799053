# ruff: noqa: D103 - the port, journal.py, says what the methods promise that these carry out
"""Messages of channels, numbered upwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, cast

import msgspec

from turnwise.server.encode import ascii_json
from turnwise.server.storage.base import Once
from turnwise.server.storage.jobs.idempotency import remember_once
from turnwise.server.storage.jobs.notices import Notice, Teller
from turnwise.server.storage.jobs.rows import Database, Value, run, some_of
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.journal import ChannelRow, Publication
from turnwise.server.storage.notices import CHANNEL
from turnwise.server.storage.notices import LARGEST as LARGEST_NOTICE

__all__ = [
    "FORGOTTEN",
    "KEPT",
    "MOST",
    "channel_history",
    "channel_rows",
    "channel_seq",
    "publish",
    "purge_channels",
    "reserve_numbers",
    "stored_seqs",
]

SQL: Final = load("channels")

KEPT: Final = 60 * 60 * 1000
"""Milliseconds for which a message is kept."""

MOST: Final = 10_000
"""Messages that a channel keeps; channels.sql and schema.py know it too."""

FORGOTTEN: Final = 24 * 60 * 60 * 1000
"""Milliseconds after its last use when the numbers of a channel without messages are forgotten."""

TRIMMED_AT_ONCE: Final = 100
"""Rows that leave a full channel with one commit: more than come in, so that it does not grow."""

LARGEST: Final = 2**63 - 1


def publish(db: Database, publications: Sequence[Publication], *, once: Once | None = None) -> list[int]:
    if once is not None:
        remember_once(db, publications[0].account_id, once)
    reserved = [publication for publication in publications if publication.last_seq is not None]
    if reserved:
        _publish_reserved(db, reserved)
    numbers = _publish_next(db, [publication for publication in publications if publication.last_seq is None])
    if publications:
        _trim(db)
    seqs = [next(numbers) if publication.last_seq is None else publication.last_seq for publication in publications]
    if isinstance(db, Teller):
        for publication, seq in zip(publications, seqs, strict=True):
            db.tell(Notice(CHANNEL, _told(publication, seq)))
    return seqs


def reserve_numbers(db: Database, account_id: str, channel_id: str, count: int, now: int) -> int:
    return cast("int", run(db, SQL["reserve"], account_id, channel_id, count, now).fetchone()[0]) - count + 1


def channel_seq(db: Database, account_id: str, channel_id: str) -> int:
    row = run(db, SQL["given_seq"], account_id, channel_id).fetchone()
    return 0 if row is None else cast("int", row[0])


def stored_seqs(db: Database, channels: Sequence[tuple[str, str]]) -> list[int]:
    pairs = msgspec.json.encode(channels).decode()
    found = {(account, channel): seq for account, channel, seq in run(db, SQL["last_seqs"], pairs)}
    return [found.get(pair, 0) for pair in channels]


def channel_rows(
    db: Database, account_id: str, channel_id: str, *, after: int, limit: int, now: int
) -> list[ChannelRow]:
    rows = run(db, SQL["rows"], account_id, channel_id, after, now - KEPT, limit).fetchall()
    return [ChannelRow(seq=seq, count=count, at=at, data=data) for seq, count, at, data in rows]


def channel_history(db: Database, account_id: str, channel_id: str, *, length: int, now: int) -> int:
    # Asked for after the history, the last number could be one that was stored since: it would never be told.
    (last,) = stored_seqs(db, [(account_id, channel_id)])
    if length > 0:
        row = run(db, SQL["history"], account_id, channel_id, now - KEPT, length).fetchone()
        if row[0] is not None:
            return cast("int", row[0])
    return last


def purge_channels(db: Database, *, now: int, limit: int) -> int:
    """Remove up to `limit` rows of messages and channels that are too old; return how many went."""
    rows = some_of(run(db, SQL["aged"], now - KEPT, limit).fetchall())
    db.executemany(SQL["delete"], [(key,) for key, *_ in rows])
    db.executemany(SQL["shrink"], [(count, channel) for _, channel, count, _ in rows])
    return len(rows) + run(db, SQL["forget"], now - FORGOTTEN, limit - len(rows)).rowcount


def _publish_next(db: Database, publications: Sequence[Publication]) -> Iterator[int]:
    """Store publications under the next free numbers; return each one's last, in order."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    latest: defaultdict[tuple[str, str], int] = defaultdict(int)
    for publication in publications:
        place = publication.account_id, publication.channel_id
        counts[place] += publication.count
        latest[place] = max(latest[place], publication.now)
    keys: dict[tuple[str, str], int] = {}
    numbers: dict[tuple[str, str], int] = {}
    for place, count in sorted(counts.items()):
        keys[place], last = run(db, SQL["advance"], *place, count, latest[place]).fetchone()
        numbers[place] = last - count
    rows: list[tuple[Value, ...]] = []
    given: list[int] = []
    for publication in publications:
        place = publication.account_id, publication.channel_id
        numbers[place] += publication.count
        given.append(numbers[place])
        rows.append((keys[place], numbers[place], publication.count, publication.now, publication.data))
    db.executemany(SQL["add"], rows)
    return iter(given)


def _publish_reserved(db: Database, publications: Sequence[Publication]) -> None:
    db.executemany(SQL["advance_to"], [(p.account_id, p.channel_id, p.last_seq, p.count, p.now) for p in publications])
    db.executemany(
        SQL["add_reserved"],
        [(p.account_id, p.channel_id, p.last_seq, p.count, p.now, p.data) for p in publications],
    )


def _told(publication: Publication, seq: int) -> bytes:
    """Return the JSON that tells of a publication: account, channel, last number, moment, messages.

    The messages are null where they are too large: then they are read from the database.
    """
    place = ascii_json(msgspec.json.encode([publication.account_id, publication.channel_id]))[1:-1]
    fits = len(place) + len(publication.data) <= LARGEST_NOTICE - 50
    messages = b"[%b]" % publication.data.replace(b"\n", b",") if fits else b"null"
    return b"[%b,%d,%d,%b]" % (place, seq, publication.now, messages)


def _trim(db: Database) -> None:
    """Take the oldest rows from channels that keep too many messages."""
    for key, kept in run(db, SQL["full"], TRIMMED_AT_ONCE).fetchall():
        gone: list[tuple[Value, ...]] = []
        remaining = kept
        for row, count, _ in some_of(run(db, SQL["oldest"], key, TRIMMED_AT_ONCE).fetchall()):
            if remaining - count < MOST:
                break
            remaining -= count
            gone.append((row,))
        if gone:
            db.executemany(SQL["delete"], gone)
            run(db, SQL["shrink"], kept - remaining, key)
