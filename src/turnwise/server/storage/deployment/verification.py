"""What a table really holds, as a number that two databases can be compared by.

A row is written down alike from every database. Where the key is made of numbers, the rows are hashed in its order.
Where it has texts in it, databases may sort them differently: then each row is hashed, and the hashes are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

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
    """How many rows a table has, and what they add up to; 0 for none."""

    rows: int
    total: int

    def __str__(self) -> str:
        return f"{self.total:0{2 * _BYTES}x}"


class _Rows(Protocol):
    def add(self, rows: Sequence[Row]) -> None: ...

    def total(self) -> int: ...


class _InOrder:
    def __init__(self) -> None:
        self._hash = blake2b(digest_size=_BYTES)

    def add(self, rows: Sequence[Row]) -> None:
        self._hash.update(b"".join(map(_encode, rows)))

    def total(self) -> int:
        return int.from_bytes(self._hash.digest(), "big")


class _InAnyOrder:
    def __init__(self) -> None:
        self._total = 0

    def add(self, rows: Sequence[Row]) -> None:
        total = self._total
        for row in rows:
            total += int.from_bytes(blake2b(_encode(row), digest_size=_BYTES).digest(), "big")
        self._total = total % _MODULUS

    def total(self) -> int:
        return self._total


async def checksum_of(
    deployment: Deployment, table: StoredTable, *, chunk: Chunk, seen: Callable[[int], None]
) -> Checksum:
    """Read a table to its end; `seen` is called with the number of rows of each chunk."""
    found: _Rows = _InAnyOrder() if set(table.key) & set(table.texts) else _InOrder()
    count = 0
    after: Row | None = None
    while rows := await deployment.read(next_rows(table, after, chunk)):
        found.add(rows)
        count += len(rows)
        after = table.key_of(rows[-1])
        seen(len(rows))
    return Checksum(count, found.total() if count else 0)
