"""A process that stores messages and prints the number of each when it was acknowledged, until it is killed.

`python -m tests.server.storage.crash_writer PATH honest|eager`. The eager writer is a mutant: it acknowledges before
it commits.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.server.storage.scene import START, message

from turnwise.server.storage.base import Once
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.server.storage.writer import GroupWriter, Outcome, Ticket, deliver

__all__ = ["ACCOUNT", "SENDERS", "EagerWriter", "conversation_of"]

ACCOUNT = "account"
SENDERS = 16


class EagerWriter(GroupWriter):
    """Acknowledges a group, and commits it a little later."""

    def _handle(self, connection: sqlite3.Connection, group: Sequence[Ticket]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        deliver([Outcome(ticket, ticket.job(connection)) for ticket in group])
        time.sleep(0.005)
        connection.execute("COMMIT")


def conversation_of(sender: int) -> str:
    return f"conversation-{sender}"


async def send(storage: SqliteStorage, sender: int) -> None:
    number = 0
    while True:
        text = f"{sender} {number}"
        once = Once(path="/send", key=text, body=b"body", now=START, answer=text.encode())
        await storage.add_messages(ACCOUNT, conversation_of(sender), [message(text)], once=once)
        os.write(1, f"{text}\n".encode())
        number += 1


async def main(path: Path, *, eager: bool) -> None:
    storage = SqliteStorage(path, writer=EagerWriter if eager else GroupWriter)
    await storage.open()
    await asyncio.gather(*(send(storage, sender) for sender in range(SENDERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), eager=sys.argv[2] == "eager"))
