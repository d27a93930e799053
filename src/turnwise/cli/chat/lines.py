"""The chat with a program, or with a script: a message a line, the answers on stdout and nothing else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from turnwise.cli.chat.session import ChatSession
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
    said = ""
    try:
        if stream:
            async with session.streamed(text) as events:
                async for event in events:
                    if isinstance(event, TokenEvent):
                        said = event.data.token or said
                        _write(event.data.token)
        else:
            said = (await session.whole(text)).text
            _write(said)
    finally:
        if not said.endswith("\n"):
            _write("\n")


async def answer_json(session: ChatSession, text: str, *, stream: bool) -> None:
    """Write the answer's events, or its result, one JSON object a line."""
    if stream:
        async with session.streamed(text) as events:
            async for event in events:
                _write(event.to_json() + "\n", raw=True)
    else:
        _write((await session.whole(text)).to_json() + "\n", raw=True)


def _write(text: str, *, raw: bool = False) -> None:
    # A program gets the text as it is; a terminal that shows it is not to be steered by it.
    sys.stdout.write(text if raw or not sys.stdout.isatty() else plain(text))
    sys.stdout.flush()
