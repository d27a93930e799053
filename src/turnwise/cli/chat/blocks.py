"""Markdown cut into blocks while it arrives, so that each block can be printed once.

A streamed answer is read line by line. A line that ends a block (a blank line after a paragraph, the next list item,
a closing fence) yields that block; it never changes afterwards. Only whole lines are looked at, so the blocks are the
same wherever the stream was cut into pieces.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Block", "BlockKind", "Blocks", "Marker"]

BlockKind = Literal["paragraph", "heading", "quote", "fence", "indented", "rule"]
"""What a block is; a table is a paragraph until it is rendered."""

_FENCE = re.compile(r"(`{3,})([^`]*)$|(~{3,})(.*)$")
_ITEM = re.compile(r"([-*+]|\d{1,9}[.)])(?: +|$)")
_HEADING = re.compile(r"#{1,6}(\s|$)")
_RULE = re.compile(r"(?:\*[ \t]*){3,}$|(?:-[ \t]*){3,}$|(?:_[ \t]*){3,}$")
_UNDERLINE = re.compile(r"(=+|-+)\s*$")
_MARKUP_ONLY = re.compile(r"[\s#>*+\-_=|`~:]*(?:\d+[.)]?)?\s*$")


@dataclass(frozen=True, slots=True)
class Marker:
    """What stands before a list item."""

    number: int | None
    """`None` for a bullet."""

    @property
    def width(self) -> int:
        """The cells it takes on a terminal, the space after it included."""
        return 3 if self.number is None else max(2, len(str(self.number))) + 2


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of Markdown that can be rendered by itself."""

    kind: BlockKind
    text: str
    """The block's lines without the list indentation; of a fence, the code alone."""
    margin: int = 0
    """Cells to its left, where it belongs to a list item."""
    marker: Marker | None = None
    """What stands in the last cells of the margin, where it is the first block of a list item."""
    spaced: bool = True
    """Whether a blank line sets it off from the block before."""
    language: str = ""
    """What a fence says its code is written in."""


@dataclass(slots=True)
class _Open:
    kind: BlockKind
    lines: list[str]
    base: int
    """Columns of indentation that belong to the list around it."""
    margin: int
    marker: Marker | None
    spaced: bool
    fence: str = ""
    language: str = ""

    def close(self) -> Block:
        return Block(self.kind, "\n".join(self.lines), self.margin, self.marker, self.spaced, self.language)


@dataclass(frozen=True, slots=True)
class _Item:
    column: int
    """Where its content begins in the source."""
    margin: int
    """Where its content begins on the terminal."""


@dataclass(slots=True)
class Blocks:
    """Takes text in pieces, gives finished blocks."""

    _partial: str = ""
    _open: _Open | None = None
    _items: list[_Item] = field(default_factory=list[_Item])
    _marker: Marker | None = None
    _blank: bool = False
    _before: Block | None = None

    def feed(self, text: str) -> list[Block]:
        """Take the next piece; return the blocks that it finished."""
        *lines, self._partial = (self._partial + text).split("\n")
        return [block for line in lines for block in self._line(line)]

    def finish(self, *, shown: bool = True) -> list[Block]:
        """Return what is left when no more text comes, the last line too if it is to be `shown`."""
        blocks = list(self._line(self._partial)) if self._partial and shown else []
        self._partial = ""
        return [*blocks, *self._close()]

    def preview(self) -> list[Block]:
        """Return what would be left if no more text came; changes nothing.

        A last line that is all markup so far is left out: nobody can tell yet what it becomes.
        """
        ahead = copy.deepcopy(self)
        return ahead.finish(shown=_MARKUP_ONLY.match(self._partial) is None)

    def _line(self, raw: str) -> Iterator[Block]:
        line = raw.rstrip("\r").expandtabs(4)
        if self._open is not None and self._open.fence:
            yield from self._fenced(self._open, line)
        elif not line.strip():
            yield from self._close()
            self._blank = True
        elif self._open is None or not self._continues(self._open, line):
            yield from self._close()
            yield from self._begin(line)

    def _fenced(self, block: _Open, line: str) -> Iterator[Block]:
        text = _dedent(line, block.base)
        mark = text.strip()
        if _columns(text) < 4 and mark.startswith(block.fence) and not mark.strip(block.fence[0]):
            yield from self._close()
        else:
            block.lines.append(text)

    def _continues(self, block: _Open, line: str) -> bool:
        """Take `line` into the open block if it belongs there."""
        text = line.strip()
        if block.kind == "heading":
            return False
        if block.kind == "indented":
            if _columns(line) < block.base + 4:
                return False
            block.lines.append(_dedent(line, block.base))
            return True
        if (
            block.kind == "paragraph"
            and block.marker is None
            and _columns(line) >= block.base
            and _UNDERLINE.match(text)
        ):
            # An underlined heading is given as the other kind: one way to render both.
            block.lines = [("# " if text[0] == "=" else "## ") + " ".join(block.lines)]
            block.kind = "heading"
            return True
        if _starts(text, interrupting=not self._items) or (text[0] == ">" and block.kind != "quote"):
            return False
        block.lines.append(_dedent(line, block.base))
        return True

    def _begin(self, line: str) -> Iterator[Block]:
        column = _columns(line)
        while self._items and column < self._items[-1].column:
            self._items.pop()
        base, margin = (self._items[-1].column, self._items[-1].margin) if self._items else (0, 0)
        text = line.strip()
        if column >= base + 4:
            self._start("indented", _dedent(line, base), base, margin)
        elif _RULE.match(text):
            self._start("rule", text, base, margin)
            yield from self._close()
        elif item := _ITEM.match(text):
            yield from self._item(item, line, margin)
        elif fence := _FENCE.match(text):
            block = self._start("fence", "", base, margin)
            block.lines.clear()
            block.fence = fence[1] or fence[3]
            block.language = (fence[2] or fence[4] or "").strip()
            # The code is dedented by what its opening fence is indented.
            block.base = column
        elif _HEADING.match(text):
            self._start("heading", text, base, margin)
            yield from self._close()
        else:
            self._start("quote" if text[0] == ">" else "paragraph", text, base, margin)

    def _item(self, item: re.Match[str], line: str, margin: int) -> Iterator[Block]:
        text = line.strip()
        marker = Marker(int(item[1][:-1]) if item[1][0].isdigit() else None)
        rest = text[item.end() :]
        # Content further away than four columns is an indented code block; the item's content begins after one space.
        width = item.end() if rest and item.end() - len(item[1]) <= 4 else len(item[1]) + 1
        self._items.append(_Item(_columns(line) + width, margin + marker.width))
        self._marker = marker
        if not rest or (_ITEM.match(rest) and not _RULE.match(rest)):
            self._start("paragraph", "", 0, margin + marker.width)
            yield from self._close()
        if rest:
            yield from self._begin(" " * (_columns(line) + width) + rest.strip())

    def _start(self, kind: BlockKind, text: str, base: int, margin: int) -> _Open:
        # List items stand close below each other, and below the line that announces them; all else gets room.
        tight = kind == "paragraph" and self._before is not None and self._before.kind == "paragraph"
        self._open = _Open(kind, [text], base, margin, self._marker, self._blank or not tight)
        self._marker, self._blank = None, False
        return self._open

    def _close(self) -> Iterator[Block]:
        if self._open is not None:
            self._before, self._open = self._open.close(), None
            yield self._before


def _starts(text: str, *, interrupting: bool) -> bool:
    """Tell whether a line begins a block of its own even right below a paragraph."""
    item = _ITEM.match(text)
    if item and interrupting:
        # "2024. A good year" in the middle of a paragraph is no list, "1. First" is; so it is with empty items.
        return item.end() < len(text) and (not item[1][0].isdigit() or item[1][:-1] == "1")
    return bool(item or _FENCE.match(text) or _HEADING.match(text) or _RULE.match(text))


def _columns(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _dedent(line: str, columns: int) -> str:
    return line[min(columns, _columns(line)) :]
