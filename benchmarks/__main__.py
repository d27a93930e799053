"""Run the benchmarks, or the named ones: `python -m benchmarks [ROW ...]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from importlib import import_module
from typing import cast

from benchmarks.options import Options
from benchmarks.report import Line, Skipped, note, print_table

ROWS = {
    "import": "import_time",
    "send_sync": "send_sync",
    "send_async": "send_async",
    "streams": "streams",
    "read_stream": "read_stream",
    "send_server": "send_server",
    "send_postgres": "send_postgres",
    "complete": "complete",
    "channels": "channels",
    "dispatch": "dispatch",
    "across_processes": "across_processes",
    "many_streams": "many_streams",
    "serve": "serve",
    "scale": "scale",
    "scale_postgres": "scale_postgres",
    "copy": "copy",
}
"""What each row is called, and the module of `benchmarks.rows` that measures it."""


def main() -> int:
    """Print the table; the status is 1 where a row broke off, not where a figure is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Turnwise costs.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one or more of: {', '.join(ROWS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=Options().rounds, help="how often each contender measures")
    parser.add_argument(
        "--full", action="store_true", help="`scale`, `scale_postgres` with 1,000,000 conversations (takes long once)"
    )
    arguments = parser.parse_args()
    unknown = [row for row in cast("list[str]", arguments.rows) if row not in ROWS]
    if unknown:
        parser.error(f"no row is called {unknown[0]!r}; the rows are: {', '.join(ROWS)}")
    options = Options(rounds=cast("int", arguments.rounds), full=cast("bool", arguments.full))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    note(f"{time.strftime('%Y-%m-%d')}, {machine}")
    lines: list[Line] = []
    failed = False
    for row in cast("list[str]", arguments.rows) or list(ROWS):
        try:
            lines.extend(_measure(row, options))
        except Exception:  # noqa: BLE001 - the other rows are measured all the same
            traceback.print_exc()
            lines.append(Skipped(row, "it broke off, as told above"))
            failed = True
    print_table(lines)
    return int(failed)


def _measure(row: str, options: Options) -> list[Line]:
    begin = time.monotonic()
    module = import_module(f"benchmarks.rows.{ROWS[row]}")
    lines = cast("list[Line]", module.measure(options))
    note(f"{row}: {time.monotonic() - begin:.0f} s")
    return lines


if __name__ == "__main__":
    sys.exit(main())
