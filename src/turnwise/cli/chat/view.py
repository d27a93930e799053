"""An answer on a terminal while it arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Literal

from rich.console import Console
from rich.text import Text

from turnwise.cli.chat.blocks import Block, Blocks
from turnwise.cli.chat.region import Region
from turnwise.cli.chat.render import Row, rows, rows_of
from turnwise.cli.plain import plain

__all__ = ["AnswerView", "Voice"]

Voice = Literal["reasoning", "answer"]

_FRAME = 1 / 25
"""Seconds between two updates of the screen; tokens that come faster are shown together."""
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class AnswerView:
    """Shows what is fed to it as Markdown, its finished blocks once and for good, and a sign of life before that."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._region = Region(console.file)
        self._voice: Voice = "answer"
        self._blocks = Blocks()
        self._reasoning = ""
        self._finished: list[Row] = []
        self._written = False
        self._started = clock()
        self._drawn = 0.0
        self._dirty = True

    @asynccontextmanager
    async def shown(self) -> AsyncGenerator[None]:
        """Keep the screen up to date while the block runs; leave everything that came on it."""
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            self.end()

    def feed(self, text: str, voice: Voice = "answer") -> None:
        """Take the next piece."""
        if voice != self._voice:
            self.break_off()
            self._voice = voice
        if voice == "reasoning":
            self._feed_reasoning(text)
        else:
            self._finish(rows(self._blocks.feed(plain(text)), self._console, after=self._above))
        self._dirty = True
        if self._clock() - self._drawn >= _FRAME:
            self.draw()

    def break_off(self) -> None:
        """End the paragraph: what comes next is another message."""
        if self._reasoning:
            self._finish(self._reasoning_rows(self._reasoning))
            self._reasoning = ""
        self._finish(rows(self._blocks.finish(), self._console, after=self._above))
        self._blocks = Blocks()

    def end(self) -> None:
        """Show the rest for good."""
        self.break_off()
        self._update([])
        self._region.close()

    def draw(self) -> None:
        """Bring the screen up to date."""
        self._update(self._live())

    @property
    def _above(self) -> bool:
        return self._written or bool(self._finished)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_FRAME)
            if self._dirty or not self._above:
                self.draw()

    def _finish(self, found: list[Row]) -> None:
        self._finished += found

    def _feed_reasoning(self, text: str) -> None:
        *paragraphs, self._reasoning = (self._reasoning + plain(text)).split("\n\n")
        for paragraph in paragraphs:
            self._finish(self._reasoning_rows(paragraph))

    def _reasoning_rows(self, text: str) -> list[Row]:
        found = rows_of(Text(text.strip(), "dim italic"), self._console)
        return [Row("", 0), *found] if found and self._above else found

    def _update(self, live: list[Row]) -> None:
        size = self._console.size
        self._region.update(self._finished, live, columns=size.width, height=size.height)
        self._written = self._above
        self._finished = []
        self._dirty = False
        self._drawn = self._clock()

    def _live(self) -> list[Row]:
        if self._reasoning:
            return self._reasoning_rows(self._reasoning)
        height = self._console.height
        blocks = [_end(block, height) for block in self._blocks.preview()]
        return rows(blocks, self._console, after=self._above) or self._waiting()

    def _waiting(self) -> list[Row]:
        if self._above:
            return []
        passed = self._clock() - self._started
        sign = _SPINNER[int(passed * 10) % len(_SPINNER)]
        return rows_of(Text(f"{sign} {passed:.0f} s" if passed >= 2 else sign, "dim"), self._console)


def _end(block: Block, lines: int) -> Block:
    """Return of unfinished code what fits the screen: colouring all of it for every frame would cost ever more."""
    if block.kind != "fence":
        return block
    return replace(block, text="\n".join(block.text.rsplit("\n", lines)[-lines:]))
