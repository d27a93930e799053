"""Blocks of an answer as rows of a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, TableElement
from rich.padding import Padding
from rich.rule import Rule
from rich.segment import Segment, Segments
from rich.syntax import Syntax
from rich.table import Table
from rich.theme import Theme

from turnwise.cli.chat.blocks import Block, Marker

__all__ = ["THEME", "Row", "rows", "rows_of"]

_READABLE = 100
"""Cells: longer lines are hard to read."""

_CODE_THEME = "ansi_dark"

THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.h4": "bold dim",
        "markdown.code": "cyan",
        "markdown.block_quote": "dim italic",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)
"""Colours of the terminal's own palette: they fit dark and light."""

_TASK = re.compile(r"\[([ xX])\] ")
_LINK = re.compile(r"\x1b\]8;id=\d+;")
_DEFINITION = re.compile(r"(\[[^\]]+\]):")


@dataclass(frozen=True, slots=True)
class Row:
    """One row, with its escape sequences, and the cells it takes."""

    text: str
    width: int


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _Table(TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                for column in part.columns:
                    column.overflow = "fold"
            yield part


class _Markdown(Markdown):
    """Markdown as people write it in chats: a line that ends has ended."""

    elements: ClassVar = {**Markdown.elements, "heading_open": _Heading, "table_open": _Table}

    def __init__(self, markup: str) -> None:
        super().__init__(markup, code_theme=_CODE_THEME)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


def rows(blocks: Sequence[Block], console: Console, *, after: bool) -> list[Row]:
    """Render blocks below each other; `after` says whether something stands above them."""
    found: list[Row] = []
    for block in blocks:
        if block.spaced and (found or after):
            found.append(Row("", 0))
        found += _block_rows(block, console)
    return found


def rows_of(renderable: RenderableType, console: Console) -> list[Row]:
    """Render anything, within the width that answers have."""
    return _to_rows(_segments(renderable, console, _width(console)), console)


def _width(console: Console) -> int:
    # The last column stays free: terminals disagree on where the cursor is after writing into it.
    return max(1, min(console.width - 1, _READABLE))


def _block_rows(block: Block, console: Console) -> list[Row]:
    width = _width(console)
    # Where lists are nested deeper than the terminal is wide, the text keeps half of it.
    margin = min(block.margin, width // 2)
    lines = _segments(_renderable(block), console, width - margin) or [[]]
    left = [_marker(block.marker, margin)] + [Segment(" " * margin)] * len(lines)
    return _to_rows([[before, *line] for before, line in zip(left, lines, strict=False)], console)


def _marker(marker: Marker | None, margin: int) -> Segment:
    if marker is None:
        return Segment(" " * margin)
    sign = "•" if marker.number is None else f"{marker.number}."
    return Segment(f"{sign} ".rjust(margin)[-margin:] if margin else "")


def _renderable(block: Block) -> RenderableType:
    match block.kind:
        case "fence":
            return Padding(_code(block.text, block.language), (0, 0, 0, 2))
        case "rule":
            return Rule(style="dim")
        case "paragraph" if block.marker is not None and (task := _TASK.match(block.text)):
            return _Markdown(("☐ " if task[1] == " " else "☑ ") + block.text[task.end() :])
        case "paragraph" if _DEFINITION.match(block.text):
            # A link's definition, read by itself, would vanish together with its address.
            return _Markdown("\\" + block.text.replace("\n[", "\n\\["))
        case _:
            return _Markdown(block.text)


def _code(text: str, language: str) -> Syntax:
    lexer = language.split(maxsplit=1)[0].lower() if language.strip() else "text"
    return Syntax(text.rstrip("\n"), lexer, theme=_CODE_THEME, background_color="default", word_wrap=True)


def _segments(renderable: RenderableType, console: Console, width: int) -> list[list[Segment]]:
    options = console.options.update(width=width)
    lines = [_trimmed(line) for line in console.render_lines(renderable, options, pad=False)]
    while lines and not Segment.get_line_length(lines[-1]):
        lines.pop()
    while lines and not Segment.get_line_length(lines[0]):
        lines.pop(0)
    return [Segment.adjust_line_length(line, width, pad=False) for line in lines]


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Leave out spaces at the end that nobody sees."""
    line = [segment for segment in line if not segment.control]
    while line and (line[-1].style is None or not line[-1].style.bgcolor):
        last = line.pop()
        if text := last.text.rstrip(" "):
            return [*line, Segment(text, last.style)]
    return line


def _to_rows(lines: Sequence[Sequence[Segment]], console: Console) -> list[Row]:
    if not lines:
        return []
    newline = Segment.line()
    with console.capture() as capture:
        console.print(Segments([part for line in lines for part in (*line, newline)]), end="", soft_wrap=True)
    # Rich numbers links at random; without numbers, a row that did not change is the same text again.
    texts = _LINK.sub("\x1b]8;;", capture.get()).split("\n")
    return [Row(text, Segment.get_line_length(list(line))) for text, line in zip(texts, lines, strict=False)]
