"""Fills a PostgreSQL database as `seed_database` fills a file: the same ids, texts and terms, made by the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import asyncpg

from benchmarks.seed_database import RARE, START
from turnwise.server.storage.postgres import PostgresStorage

__all__ = ["seed_postgres"]

CHUNK: Final = 20_000
"""Conversations that are made with one statement, so that something can be told of it."""

CONVERSATIONS: Final = """
INSERT INTO conversations (key, id, account, created_at, updated_at, last_sequence, name, bot_id)
SELECT n + 1, lpad(to_hex($3::bigint + n / 3), 12, '0') || lpad(to_hex(n), 20, '0'), 'account', $3::bigint + n / 3,
    $3::bigint + n / 3, $4::bigint, 'Conversation ' || n, 'bot-' || (n % 100)
FROM generate_series($1::bigint, $2::bigint) n
"""

TEXTS: Final = """
INSERT INTO conversation_texts (conversation, meta, backstory)
SELECT n + 1,
    '{"plan":"' || CASE WHEN n % $3::bigint = 0 THEN 'rare' ELSE 'common' END || '","n":' || (n % 1000) || '}',
    'You are helpful.'
FROM generate_series($1::bigint, $2::bigint) n
"""

TERMS: Final = """
INSERT INTO conversation_terms (account, name, value, created_at, id, kinds)
SELECT c.account, t.name, t.value, c.created_at, c.id, t.kinds
FROM conversations c JOIN conversation_texts x ON x.conversation = c.key, LATERAL (
    VALUES ('botId', c.bot_id, 1), ('meta.plan', x.meta::json ->> 'plan', 1), ('meta.n', x.meta::json ->> 'n', 2)
) t (name, value, kinds)
WHERE c.key BETWEEN $1::bigint + 1 AND $2::bigint + 1
"""

MESSAGES: Final = """
INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, text)
SELECT n + 1, s,
    lpad(to_hex($3::bigint + n / 3), 12, '0') || lpad(to_hex(n), 12, '0') || lpad(to_hex(s), 8, '0'),
    CASE WHEN s % 2 = 1 THEN 'user' ELSE 'bot' END, $3::bigint + n / 3 + s, $3::bigint + n / 3 + s,
    'This is message number ' || s || ', and it is as long as such messages usually are.'
FROM generate_series($1::bigint, $2::bigint) n, generate_series(1, $4::bigint) s
"""


async def seed_postgres(url: str, *, conversations: int, each: int, made: Callable[[int], None]) -> None:
    """Make tables of that size in an empty database, one account owning it all; tell now and then how many are made."""
    storage = PostgresStorage(url)
    await storage.open()
    await storage.close()
    connection = await asyncpg.connect(url, command_timeout=None)
    try:
        await connection.execute("SET synchronous_commit = off; SET max_parallel_workers_per_gather = 0")
        await connection.execute("INSERT INTO accounts (id, name, created_at) VALUES ('account', 'account', $1)", START)
        for first in range(0, conversations, CHUNK):
            last = min(first + CHUNK, conversations) - 1
            await connection.execute(CONVERSATIONS, first, last, START, each)
            await connection.execute(TEXTS, first, last, max(1, conversations // RARE))
            await connection.execute(TERMS, first, last)
            await connection.execute(MESSAGES, first, last, START, each)
            made(last + 1)
        await connection.execute("SELECT setval('conversations_key_seq', $1)", conversations)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
