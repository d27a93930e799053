"""The chat with a program, or with a script: a message a line, the answers on stdout and nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from turnwise.cli.chat.session import ChatSession
from turnwise.cli.output import data
from turnwise.cli.plain import plain
from turnwise.types.event import TokenEvent

__all__ = ["answer_json", "answer_text", "run_lines"]


def run_lines(
    session: ChatSession, lines: Iterable[str], runner: asyncio.Runner, *, stream: bool, as_json: bool
) -> None:
    """Answer each line that says something. The first error ends it: what follows may depend on the answer."""
    answer = answer_json if as_json else answer_text
    for line in lines:
        if text := line.strip():
            runner.run(answer(session, text, stream=stream))


async def answer_text(session: ChatSession, text: str, *, stream: bool) -> None:
    """Write the answer's text as it comes, and end the line."""
    line = _Line()
    try:
        if stream:
            async with session.streamed(text) as events:
                async for event in events:
                    if isinstance(event, TokenEvent):
                        line.write(event.data.token)
        else:
            line.write((await session.whole(text)).text)
    except BaseException:
        line.end(begun_only=True)
        raise
    line.end()


class _Line:
    """What was written of an answer."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, text: str) -> None:
        self._last = text or self._last
        # A program gets the text as it is; a terminal that shows it is not to be steered by it.
        sys.stdout.write(plain(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def end(self, *, begun_only: bool = False) -> None:
        if not self._last.endswith("\n") and (self._last or not begun_only):
            data("")


async def answer_json(session: ChatSession, text: str, *, stream: bool) -> None:
    """Write the answer's events, or its result, one JSON object a line."""
    if not stream:
        data((await session.whole(text)).to_json())
        return
    async with session.streamed(text) as events:
        async for event in events:
            data(event.to_json())
