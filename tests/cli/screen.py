"""A terminal small enough to be obviously right: it understands what the chat writes, and nothing else."""

from __future__ import annotations

import re

from rich.cells import cell_len

__all__ = ["Screen"]

_PIECE = re.compile(r"\x1b\[(\?)?([\d;]*)([A-Za-z])|\x1b\]8;.*?\x1b\\|[\r\n]|[^\x1b\r\n]", re.DOTALL)


class Screen:
    """Rows that scroll away upwards, and a cursor that can only move among the last `height` of them."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.rows: list[list[str]] = [[]]
        self.row = 0
        self.column = 0
        self.cursor_shown = True
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written += [text] if text else []
        end = 0
        for piece in _PIECE.finditer(text):
            assert piece.start() == end, f"not understood: {text[end : end + 20]!r}"
            end = piece.end()
            self._take(piece)
        assert end == len(text)
        return len(text)

    def flush(self) -> None:
        pass

    @property
    def text(self) -> str:
        """Everything that was ever shown and not erased, scrolled away or not."""
        return "\n".join("".join(row).rstrip() for row in self.rows)

    def _take(self, piece: re.Match[str]) -> None:
        match piece[3], piece[0]:
            case "A", _:
                # As on a real terminal, what scrolled away cannot be reached.
                self.row = max(self.row - int(piece[2] or 1), len(self.rows) - self.height, 0)
            case "C", _:
                self.column = min(self.column + int(piece[2] or 1), self.width - 1)
            case "K", _:
                del self.rows[self.row][self.column :]
            case "J", _:
                del self.rows[self.row][self.column :]
                del self.rows[self.row + 1 :]
            case "h" | "l", _:
                if piece[2] == "25":
                    self.cursor_shown = piece[3] == "h"
            case "m", _:
                pass
            case _, "\r":
                self.column = 0
            case _, "\n":
                self.row += 1
                self.column = 0
                if self.row == len(self.rows):
                    self.rows.append([])
            case _, character if not character.startswith("\x1b"):
                self._put(character)
            case _:
                pass

    def _put(self, character: str) -> None:
        width = cell_len(character)
        if self.column + width > self.width:
            self._take(_piece("\n"))
        row = self.rows[self.row]
        row += [" "] * (self.column - len(row))
        if width == 0 and row:
            row[-1] += character
            return
        row[self.column : self.column + width] = [character] + [""] * (width - 1)
        self.column += width


def _piece(text: str) -> re.Match[str]:
    found = _PIECE.match(text)
    assert found is not None
    return found
