"""What the benchmarks say: figures, and the table of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["AtLeast", "AtMost", "Bound", "Figure", "Line", "Skipped", "note", "print_table"]


@dataclass(frozen=True, slots=True)
class AtMost:
    """A value that must not be exceeded."""

    limit: float

    def holds(self, value: float) -> bool:
        return value <= self.limit

    def __str__(self) -> str:
        return f"<= {self.limit:g}"


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A value that must be reached."""

    limit: float

    def holds(self, value: float) -> bool:
        return value >= self.limit

    def __str__(self) -> str:
        return f">= {self.limit:g}"


Bound = AtMost | AtLeast


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. Without `bound` it is there for information."""

    row: str
    ours: str
    other: str = ""
    """What it stands beside, with that one's own figure."""
    value: float
    unit: str = "x"
    bound: Bound | None = None

    @property
    def verdict(self) -> Literal["ok", "missed", ""]:
        """Whether the value is where it must be."""
        if self.bound is None:
            return ""
        return "ok" if self.bound.holds(self.value) else "missed"

    def cells(self) -> tuple[str, ...]:
        must = f"{self.bound} {self.unit}" if self.bound is not None else ""
        return self.row, self.ours, self.other, f"{self.value:.2f} {self.unit}", must, self.verdict


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that could not be measured here, and why."""

    row: str
    reason: str

    def cells(self) -> tuple[str, ...]:
        return self.row, self.reason, "", "", "", "skipped"


Line = Figure | Skipped

HEAD = ("what", "ours", "beside", "figure", "must be", "")


def note(text: str) -> None:
    """Say what is going on, beside the results."""
    print(text, file=sys.stderr, flush=True)


def print_table(lines: Sequence[Line]) -> None:
    """Print the table: with Rich on a terminal that has it, else as aligned text."""
    if sys.stdout.isatty():
        try:
            _print_rich(lines)
        except ModuleNotFoundError:
            _print_plain(lines)
    else:
        _print_plain(lines)


def _print_plain(lines: Sequence[Line]) -> None:
    table = [HEAD, *(line.cells() for line in lines)]
    # A skipped line's reason runs over the columns that it leaves empty.
    widths = [
        max(len(row[column]) for row in table if column != 1 or row[-1] != "skipped") for column in range(len(HEAD))
    ]
    for row in table:
        if row[-1] == "skipped":
            print(f"{row[0]:<{widths[0]}}  skipped: {row[1]}")
        else:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "missed": "bold red", "skipped": "yellow"}
    table = Table(*HEAD, box=None, header_style="bold", pad_edge=False)
    for line in lines:
        *cells, verdict = line.cells()
        colour = colours.get(verdict)
        table.add_row(*cells, f"[{colour}]{verdict}[/]" if colour else verdict)
    Console().print(table)
