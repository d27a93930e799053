"""Fills a database with as many conversations and messages as are asked for, made inside SQLite itself.

`python -m benchmarks.seed_database PATH --conversations 1000000 --messages 10000000`
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from turnwise.server.storage.database import connect, create_file, prepare

__all__ = ["RARE_PLAN", "Seeded", "seed"]

START: Final = 1_795_000_000_000

RARE_PLAN: Final = "rare"
"""The value of `meta.plan` in 200 of the conversations, spread evenly; the others have `common`."""

RARE: Final = 200

CONVERSATIONS: Final = """
WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < :count)
INSERT INTO conversations (key, id, account, created_at, updated_at, last_sequence, name, bot_id)
SELECT n + 1, printf('%012x%020x', :start + n / 3, n), 'account', :start + n / 3, :start + n / 3,
    iif(n = 0, :longest, :each), 'Conversation ' || n, 'bot-' || (n % 100)
FROM counted
"""

TEXTS: Final = """
INSERT INTO conversation_texts (conversation, meta, backstory)
SELECT key, json_object('plan', iif((key - 1) % :step = 0, 'rare', 'common'), 'n', (key - 1) % 1000),
    'You are helpful.'
FROM conversations WHERE :count
"""

TERMS: Final = (
    """
    INSERT INTO conversation_terms (account, name, value, created_at, id, kinds)
    SELECT account, 'botId', bot_id, created_at, id, 1 FROM conversations ORDER BY 3, 4, 5
    """,
    """
    INSERT INTO conversation_terms (account, name, value, created_at, id, kinds)
    SELECT account, 'meta.plan', json_extract(meta, '$.plan'), created_at, id, 1
    FROM conversations JOIN conversation_texts ON conversation = key ORDER BY 3, 4, 5
    """,
    """
    INSERT INTO conversation_terms (account, name, value, created_at, id, kinds)
    SELECT account, 'meta.n', cast(json_extract(meta, '$.n') AS TEXT), created_at, id, 2
    FROM conversations JOIN conversation_texts ON conversation = key ORDER BY 3, 4, 5
    """,
)

# Walks the conversations by key and each one's messages by sequence, so that all is written in the order it lies in.
MESSAGES: Final = """
WITH RECURSIVE numbered (key, created_at, last, sequence) AS (
    SELECT key, created_at, last_sequence, 1 FROM conversations WHERE key = 1 AND last_sequence > 0
    UNION ALL
    SELECT c.key, c.created_at, c.last_sequence, iif(sequence < last, sequence + 1, 1)
    FROM numbered JOIN conversations c ON c.key = numbered.key + (sequence = last)
    WHERE c.last_sequence > 0
)
INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, text)
SELECT key, sequence, printf('%012x%012x%08x', created_at, key - 1, sequence), iif(sequence % 2, 'user', 'bot'),
    created_at + sequence, created_at + sequence,
    'This is message number ' || sequence || ', and it is as long as such messages usually are.'
FROM numbered
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What can be asked for in a seeded database."""

    account: str
    first: str
    """The first conversation: the longest."""
    middle: str
    """A conversation of the usual length, in the middle of the list."""
    last: str
    message_of_middle: str


def conversation_id(number: int) -> str:
    """Return the id of a conversation by its number, from 0."""
    return f"{START + number // 3:012x}{number:020x}"


def message_id(number: int, sequence: int) -> str:
    """Return the id of a message by the number of its conversation and its place in it, from 1."""
    return f"{START + number // 3:012x}{number:012x}{sequence:08x}"


def seed(path: Path, *, conversations: int, messages: int, longest: int = 0) -> Seeded:
    """Make a database of that size at `path`, one account owning it all.

    Messages are spread evenly; the first conversation has at least `longest`.
    """
    each = messages // conversations
    create_file(path)
    with closing(connect(path)) as db:
        prepare(db, path)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("BEGIN")
        db.execute("INSERT INTO accounts (id, name, created_at) VALUES ('account', 'account', ?)", (START,))
        numbers = {"count": conversations, "start": START, "each": each, "longest": max(each, longest)}
        db.execute(CONVERSATIONS, numbers)
        db.execute(TEXTS, numbers | {"step": max(1, conversations // RARE)})
        for statement in TERMS:
            db.execute(statement)
        db.execute(MESSAGES)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    middle = conversations // 2
    return Seeded(
        account="account",
        first=conversation_id(0),
        middle=conversation_id(middle),
        last=conversation_id(conversations - 1),
        message_of_middle=message_id(middle, max(1, each // 2)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--conversations", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--longest", type=int, default=100_000)
    given = parser.parse_args()
    began = time.perf_counter()
    print(seed(given.path, conversations=given.conversations, messages=given.messages, longest=given.longest))
    print(f"{given.path.stat().st_size / 1e6:,.0f} MB in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
