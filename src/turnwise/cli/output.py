"""What commands write: data on stdout, everything else on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from turnwise.cli.plain import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from turnwise.types._base import Milliseconds, Wire

__all__ = ["ago", "data", "fail", "note", "one_line", "stderr", "stdout", "table", "write_json"]

_STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (30.44, "day"), (12, "month"))


@cache
def stdout() -> Console:
    """The console of data made to be looked at; plain where it is piped or `NO_COLOR` is set."""
    from rich.console import Console

    return Console(highlight=False)


@cache
def stderr() -> Console:
    """The console of everything else."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """Tell something on stderr."""
    stderr().print(plain(text), style="dim", markup=False, soft_wrap=True)


def fail(text: str) -> None:
    """Tell on stderr what went wrong."""
    from rich.text import Text

    stderr().print(Text("error: ", style="bold red").append(plain(text), style="not bold default"), soft_wrap=True)


def data(text: str) -> None:
    """Write a line of data to stdout, as it is, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(items: Iterable[Wire]) -> None:
    """Write one JSON object a line."""
    for item in items:
        data(item.to_json())


def table(*columns: str, whole: Iterable[str] = (), wide: str = "") -> Table:
    """Make a table: the columns `whole` are never cut short, `wide` takes the room that is left."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, header_style="bold", border_style="dim", pad_edge=False, expand=False)
    for name in columns:
        made.add_column(
            name,
            no_wrap=True,
            overflow="fold" if name in whole else "ellipsis",
            min_width=None if name in whole else min(8, len(name)),
            ratio=1 if name == wide else None,
        )
    return made


def one_line(text: str | None, *, otherwise: str = "") -> str:
    """Put a text on one line, without what could steer a terminal."""
    return " ".join(plain(text or "").split()) or otherwise


def ago(moment: Milliseconds, *, now: float | None = None) -> str:
    """Say how long ago a moment was: "5 minutes ago"; times to come and under 10 s are "just now"."""
    passed = (time.time() if now is None else now) - moment / 1000
    if passed < 10:
        return "just now"
    unit = "year"
    for size, name in _STEPS:
        if passed < size:
            unit = name
            break
        passed /= size
    count = int(passed)
    return f"{count} {unit}{'s' if count != 1 else ''} ago"
