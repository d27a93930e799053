"""What a table really holds, as a number that two databases can be compared by.

A row is written down alike from every database, hashed, and the hashes of all rows are added up: what the order of the
rows is, and how a database keeps its texts, makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from turnwise.server.storage.deployment.database import Chunk, Deployment, next_rows
from turnwise.server.storage.deployment.tables import StoredTable
from turnwise.server.storage.jobs.rows import Row

__all__ = ["Checksum", "checksum_of"]

_BYTES: Final = 16
_MODULUS: Final = 1 << (8 * _BYTES)

_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Checksum:
    """How many rows, and the sum of their hashes."""

    rows: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.total:032x}"

    def adding(self, rows: Iterable[Row]) -> Checksum:
        """Return the checksum with these rows too."""
        count, total = self.rows, self.total
        for row in rows:
            count += 1
            total += int.from_bytes(blake2b(_encode(row), digest_size=_BYTES).digest(), "little")
        return Checksum(count, total % _MODULUS)


async def checksum_of(
    deployment: Deployment, table: StoredTable, *, chunk: Chunk, seen: Callable[[int], None]
) -> Checksum:
    """Read a table to its end; `seen` is called with the number of rows of each chunk."""
    found = Checksum()
    after: Row | None = None
    while rows := await deployment.read(next_rows(table, after, chunk)):
        found = found.adding(rows)
        after = table.key_of(rows[-1])
        seen(len(rows))
    return found
