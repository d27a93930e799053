"""What storing a `send` in PostgreSQL takes by itself: grouped inserts over asyncpg, without any server.

64 writers, each of which stores the next row when its last one is committed. What waits while a commit runs goes in
with the next one, as one transaction for all three rows that a `send` writes: the message, its conversation's new
`last_sequence` and `updated_at`, and the idempotency key with the answer. Nothing is checked: not whose the
conversation is, whether it is there, nor whether the key is known. There are two ways:

- `plain`, as one would write it first: a transaction of one INSERT ... SELECT FROM unnest for the messages, one for the
  keys, and one UPDATE ... FROM unnest before them, which gives the numbers;
- `single`, the least there is: the same as a single statement, which needs no BEGIN and no COMMIT.

    python -m benchmarks.servers.insert_floor URL CONVERSATION...

reads the way and how many rows to store, a line each time, and prints the seconds that took.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence

import asyncpg

from benchmarks.request import TEXT
from benchmarks.servers.raw import run

SINGLE = """
    WITH given AS (
        SELECT *
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[], $7::bytea[], $8::bytea[])
        AS g (conversation, id, type, at, text, digest, body, answer)
    ), remembered AS (
        INSERT INTO idempotency (digest, body, created_at, answer) SELECT digest, body, at, answer FROM given
    ), extended AS (
        UPDATE conversations c SET last_sequence = last_sequence + 1, updated_at = g.at
        FROM given g
        WHERE c.id = g.conversation
        RETURNING c.key, c.id, c.last_sequence
    )
    INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, text)
    SELECT e.key, e.last_sequence, g.id, g.type, g.at, g.at, g.text
    FROM given g JOIN extended e ON e.id = g.conversation
"""

EXTEND = """
    UPDATE conversations c SET last_sequence = last_sequence + 1, updated_at = g.at
    FROM unnest($1::text[], $2::bigint[]) AS g (id, at)
    WHERE c.id = g.id
    RETURNING c.id, c.key, c.last_sequence
"""

INSERT = """
    INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, text)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[])
"""

REMEMBER = """
    INSERT INTO idempotency (digest, body, created_at, answer)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bytea[])
"""

Row = tuple[str, str, str, int, str, bytes, bytes, bytes]


class Floor:
    """Stores rows in groups, on one connection."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], conversations: Sequence[str]) -> None:
        self._connection = connection
        self._conversations = conversations
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._left = 0

    async def store(self, way: str, count: int) -> float:
        """Store so many rows, a writer a conversation; return the seconds it took."""
        store = {"plain": self._plain, "single": self._single}[way]
        self._left = count
        begin = time.perf_counter()
        writers = asyncio.gather(*(self._write(conversation) for conversation in self._conversations))
        await asyncio.sleep(0)
        while self._waiting:
            group, self._waiting = self._waiting, []
            await store([list(column) for column in zip(*(row for row, _ in group), strict=True)])
            for _, done in group:
                done.set_result(None)
            await asyncio.sleep(0)
        await writers
        return time.perf_counter() - begin

    async def _plain(self, columns: list[list[object]]) -> None:
        conversations, ids, types, moments, texts, digests, bodies, answers = columns
        async with self._connection.transaction():
            extended = {row[0]: row for row in await self._connection.fetch(EXTEND, conversations, moments)}
            keys = [extended[conversation][1] for conversation in conversations]
            sequences = [extended[conversation][2] for conversation in conversations]
            await self._connection.execute(INSERT, keys, sequences, ids, types, moments, moments, texts)
            await self._connection.execute(REMEMBER, digests, bodies, moments, answers)

    async def _single(self, columns: list[list[object]]) -> None:
        await self._connection.execute(SINGLE, *columns)

    async def _write(self, conversation: str) -> None:
        while self._left > 0:
            self._left -= 1
            id_ = secrets.token_hex(16)
            answer = b'{"id":"%s"}' % id_.encode()
            done = asyncio.get_running_loop().create_future()
            row = conversation, id_, "user", time.time_ns() // 10**6, TEXT, secrets.token_bytes(16), bytes(32), answer
            self._waiting.append((row, done))
            await done


async def main() -> None:
    loop = asyncio.get_running_loop()
    floor = Floor(await asyncpg.connect(sys.argv[1]), sys.argv[2:])
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        way, count = line.split()
        print(await floor.store(way, int(count)), flush=True)


if __name__ == "__main__":
    run(main())
