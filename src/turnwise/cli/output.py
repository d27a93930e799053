"""What commands write: data on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TextIO

from turnwise.cli.plain import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from turnwise.types._base import Milliseconds, Wire

__all__ = ["ago", "data", "fail", "note", "one_line", "print_table", "shortened", "stderr", "stdout", "write_json"]

_ENDLESS = 10_000
_STEPS = ((60, "s"), (60, "m"), (24, "h"), (30.44, "d"), (12, "mo"))
_GAP = 3
"""Cells between two columns."""
_LEAST = 8
"""Cells that the widest column keeps, however narrow the terminal."""


@cache
def stdout() -> Console:
    """The console of data made to be looked at; plain where it is piped or `NO_COLOR` is set."""
    return _console(sys.stdout, error=False)


@cache
def stderr() -> Console:
    """The console of everything else."""
    return _console(sys.stderr, error=True)


def _console(file: TextIO, *, error: bool) -> Console:
    from rich.console import Console

    # Where nobody looks, there is no edge at which to cut or wrap.
    endless = not file.isatty() and not os.environ.get("COLUMNS")
    return Console(stderr=error, highlight=False, width=_ENDLESS if endless else None)


def note(text: str) -> None:
    """Tell something on stderr."""
    stderr().print(plain(text), style="dim", markup=False)


def fail(text: str) -> None:
    """Tell on stderr what went wrong."""
    from rich.text import Text

    stderr().print(Text.assemble(("error: ", "bold red"), plain(text)))


def data(text: str) -> None:
    """Write a line of data to stdout, as it is, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(items: Iterable[Wire]) -> None:
    """Write one JSON object a line."""
    for item in items:
        data(item.to_json())


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Text]], *, wide: str, console: Console | None = None
) -> None:
    """Print rows below the names of their columns; the column `wide` is cut short where the terminal is too narrow.

    The other columns stay whole: an id of which a part is missing is no id.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = console or stdout()
    widest = columns.index(wide)
    taken = [max(len(name), *(row[place].cell_len for row in rows)) for place, name in enumerate(columns)]
    room = console.width - sum(taken) + taken[widest] - _GAP * (len(columns) - 1)
    shown = Table(box=SIMPLE_HEAD, header_style="bold", border_style="dim", pad_edge=False, show_edge=False)
    for name in columns:
        shown.add_column(name, no_wrap=True, overflow="fold")
    for row in rows:
        row[widest].truncate(max(room, _LEAST), overflow="ellipsis")
        shown.add_row(*row)
    console.print(shown)


def one_line(text: str | None, *, otherwise: str = "") -> str:
    """Put a text on one line, without what could steer a terminal."""
    return " ".join(plain(text or "").split()) or otherwise


def shortened(text: str, length: int) -> str:
    """Return the text, its end replaced by an ellipsis where it has more than `length` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def ago(moment: Milliseconds, *, now: float | None = None) -> str:
    """Say how long ago a moment was, such as `5m ago`; times to come and under 10 s are `just now`."""
    passed = (time.time() if now is None else now) - moment / 1000
    if passed < 10:
        return "just now"
    for size, unit in _STEPS:
        if passed < size:
            return f"{int(passed)}{unit} ago"
        passed /= size
    return f"{int(passed)}y ago"
