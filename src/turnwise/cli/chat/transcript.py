"""Messages that were said before, as they looked when they were said."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from turnwise.cli.chat.blocks import Blocks
from turnwise.cli.chat.render import THEME, Row, rows, rows_of
from turnwise.cli.plain import plain
from turnwise.types.message import Message

__all__ = ["PROMPT", "print_messages"]

PROMPT = "\u203a "
"""What a person's messages begin with: a small angle."""


def print_messages(console: Console, messages: Iterable[Message]) -> None:
    """Print what the user and the bot said; everything else with its type."""
    console.push_theme(THEME)
    for message in messages:
        console.print()
        for row in _rows(message, console):
            console.file.write(row.text + "\n")
    console.pop_theme()
    console.file.flush()


def _rows(message: Message, console: Console) -> list[Row]:
    text = plain(message.text)
    match message.type:
        case "user":
            return rows_of(Text(PROMPT, "bold cyan").append(text, "bold default"), console)
        case "bot":
            interrupted = (message.meta or {}).get("interrupted") is True
            stopped = rows_of(Text("(stopped)", "dim"), console) if interrupted else []
            blocks = Blocks()
            return rows([*blocks.feed(text), *blocks.finish()], console, after=False) + stopped
        case "reasoning":
            return rows_of(Text(text, "dim italic"), console)
        case other:
            return rows_of(Text(f"{plain(other)}: ", "dim").append(text), console)
