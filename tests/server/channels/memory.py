"""The store of channels, in memory: what `LocalChannels` needs, to be tested without a database."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from turnwise.server.storage.base import AlreadyDone, Once
from turnwise.server.storage.journal import ChannelRow, Publication

__all__ = ["MemoryStore"]

HOUR = 60 * 60 * 1000

Key = tuple[str, str]


@dataclass
class MemoryStore:
    """`pause` is awaited before and after everything: where a database would take its time."""

    pause: Callable[[], float] = lambda: 0.0
    rows: defaultdict[Key, list[ChannelRow]] = field(default_factory=lambda: defaultdict(list))
    last: defaultdict[Key, int] = field(default_factory=lambda: defaultdict(int))
    known: dict[tuple[str, str, str], bytes] = field(default_factory=dict[tuple[str, str, str], bytes])
    _order: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def _wait(self) -> None:
        await asyncio.sleep(self.pause())

    async def publish(self, publications: Sequence[Publication], *, once: Once | None = None) -> Sequence[int]:
        async with self._order:
            await self._wait()
            if once is not None:
                name = (publications[0].account_id, once.path, once.key)
                if name in self.known:
                    raise AlreadyDone(body=self.known[name], answer=once.answer, message_id=None)
                self.known[name] = once.body
            seqs = [self.store(publication) for publication in publications]
        await self._wait()
        return seqs

    def store(self, publication: Publication) -> int:
        key = (publication.account_id, publication.channel_id)
        seq = publication.last_seq or self.last[key] + publication.count
        self.last[key] = max(self.last[key], seq)
        row = ChannelRow(seq=seq, count=publication.count, at=publication.now, data=publication.data)
        assert row.count == row.data.count(b"\n") + 1
        assert all(seq - row.count >= other.seq or seq <= other.seq - other.count for other in self.rows[key])
        self.rows[key] = sorted([*self.rows[key], row], key=lambda row: row.seq)
        return seq

    async def reserve_numbers(self, account_id: str, channel_id: str, count: int) -> int:
        async with self._order:
            await self._wait()
            self.last[account_id, channel_id] += count
            first = self.last[account_id, channel_id] - count + 1
        await self._wait()
        return first

    async def channel_seq(self, account_id: str, channel_id: str) -> int:
        await self._wait()
        return self.last[account_id, channel_id]

    async def stored_seqs(self, channels: Sequence[Key]) -> Sequence[int]:
        await self._wait()
        seqs = [self.rows[key][-1].seq if self.rows[key] else 0 for key in channels]
        await self._wait()
        return seqs

    async def channel_rows(
        self, account_id: str, channel_id: str, *, after: int, limit: int, now: int
    ) -> Sequence[ChannelRow]:
        await self._wait()
        kept = [row for row in self.rows[account_id, channel_id] if row.seq > after and row.at > now - HOUR]
        await self._wait()
        return kept[:limit]

    async def channel_history(self, account_id: str, channel_id: str, *, length: int, now: int) -> int:
        await self._wait()
        seqs = [
            seq
            for row in self.rows[account_id, channel_id]
            if row.at > now - HOUR
            for seq in range(row.seq - row.count + 1, row.seq + 1)
        ][-length:]
        await self._wait()
        return seqs[0] - 1 if seqs else (await self.stored_seqs([(account_id, channel_id)]))[0]
