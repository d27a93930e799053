"""A mutant of the server whose writer says "done" before it commits. The crash test must find it out."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Sequence

from turnwise._entry import main
from turnwise.server.storage import writer


def _acknowledge_then_commit(
    self: writer.GroupWriter, connection: sqlite3.Connection, group: Sequence[writer.Ticket]
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    outcomes = writer._run_group(connection, group)
    writer.deliver(outcomes)
    time.sleep(0.5)
    connection.execute("COMMIT")


if __name__ == "__main__":
    writer.GroupWriter._handle = _acknowledge_then_commit  # type: ignore[method-assign]
    sys.argv[1:1] = ["serve"]
    main()
