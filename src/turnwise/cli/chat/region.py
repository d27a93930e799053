"""The end of the output, rewritten in place while it grows.

What is finished is written once and never touched again; only the rows below it are. Those are never more than the
terminal shows, so that moving up to their first row always finds it: nothing is left behind when the screen scrolls.
Every update is one write, of the rows that changed and no others, so that nothing flickers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import IO

from turnwise.cli.chat.render import Row

__all__ = ["Region"]

_BEGIN_UPDATE, _END_UPDATE = "\x1b[?2026h", "\x1b[?2026l"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"


class Region:
    """The rows that may still change. Between updates the cursor stands at the end of the last of them."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._rows: list[Row] = []
        self._columns = 0

    def update(self, finished: Sequence[Row], live: Sequence[Row], *, columns: int, height: int) -> None:
        """Write `finished` for good and show `live` below it, as much of its end as fits `height` rows."""
        live = list(live)[-max(1, height - 1) :]
        rows = [*finished, *live]
        text = self._rewritten(rows, columns=columns, height=height)
        if finished and not live:
            text += "\r\n"
        self._rows, self._columns = live, columns
        if text:
            self._file.write(f"{_BEGIN_UPDATE}{_HIDE_CURSOR}{text}{_END_UPDATE}")
            self._file.flush()

    def close(self) -> None:
        """Show the cursor again. Rows still live stay as they are, as if finished."""
        self._file.write(("\r\n" if self._rows else "") + _SHOW_CURSOR)
        self._file.flush()
        self._rows = []

    def _rewritten(self, rows: Sequence[Row], *, columns: int, height: int) -> str:
        if not self._rows:
            return "\r\n".join(row.text for row in rows)
        up, same = len(self._rows) - 1, 0
        if columns == self._columns:
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._rows, rows, strict=False)))
        else:
            # The terminal has wrapped our rows anew.
            up = min(height, sum(max(1, -(-row.width // columns)) for row in self._rows)) - 1
        if same == len(rows) == len(self._rows):
            return ""
        if same == len(self._rows):
            return "".join("\r\n" + row.text for row in rows[same:])
        changed = "\r\n".join(row.text + _ERASE_LINE for row in rows[same:])
        # With nothing to rewrite, the rows below the last one that stays are erased.
        return f"{_up(up - same)}\r{changed}{_ERASE_BELOW}" if changed else self._shortened(same, up)

    def _shortened(self, same: int, up: int) -> str:
        width = self._rows[same - 1].width if same else 0
        right = f"\x1b[{width}C" if width else ""
        return f"{_up(up - max(0, same - 1))}\r{right}{_ERASE_BELOW}"


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows > 0 else ""
