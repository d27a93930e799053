"""How far a copy has come: bars where somebody watches, a line for each table that holds something where not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

    from turnwise.server.storage.deployment.copy import Advance

__all__ = ["shown"]

_PHASES: Final = {"copy": "Copying", "verify": "Comparing"}
_DONE: Final = {"copy": "Copied", "verify": "Compared"}
_NAME_WIDTH: Final = 21
"""Of the longest table's name."""
_SECONDS_BETWEEN_LINES: Final = 10.0


@contextmanager
def shown() -> Generator[Callable[[Advance], None]]:
    """Return what shows how far a copy has come, on stderr."""
    from turnwise.cli.output import note, stderr

    try:
        if stderr().is_terminal and os.environ.get("TERM") != "dumb":
            with _bars() as progress:
                yield _Bars(progress)
        else:
            yield _Lines()
    except BaseException as error:
        if not isinstance(error, Exception):  # somebody wants it to stop
            note("The copy is not finished. Start the same command again, and it goes on where it stopped.")
        raise


class _Bars:
    """A bar for each phase."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, advance: Advance) -> None:
        """Draw."""
        phase = advance.phase
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(
                _PHASES[phase], total=advance.total, completed=advance.done, table=""
            )
        over = advance.ended and advance.done == advance.total
        self._progress.update(
            self._tasks[phase],
            total=advance.total,
            completed=advance.done,
            table="" if over else advance.table,
            description=_DONE[phase] if over else _PHASES[phase],
        )


class _Lines:
    """A line for each table when it is done, and now and then one more where it takes long."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, advance: Advance) -> None:
        """Tell."""
        from turnwise.cli.output import note

        late = time.monotonic() - self._told > _SECONDS_BETWEEN_LINES
        if not advance.rows or not (advance.ended or late):
            return
        self._told = time.monotonic()
        words = _DONE if advance.ended else _PHASES
        rows = advance.rows // 2 if advance.phase == "verify" else advance.rows
        part = 100 * advance.done // max(advance.total, 1)
        note(f"{words[advance.phase]} {advance.table}: {rows:,} row{'s' if rows != 1 else ''} ({part} % of all)")


def _bars() -> Progress:
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from turnwise.cli.output import stderr

    class Speed(ProgressColumn):
        """Rows a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} rows/s", "dim", justify="right")

    return Progress(
        TextColumn("{task.description:<9}"),
        TextColumn(f"{{task.fields[table]:<{_NAME_WIDTH}}}", style="dim", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        Speed(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=stderr(),
        expand=True,
    )
