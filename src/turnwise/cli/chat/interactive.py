"""The chat with a person at a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from turnwise.cli.chat import commands
from turnwise.cli.chat.keyboard import silent
from turnwise.cli.chat.lines import answer_text
from turnwise.cli.chat.prompt import Prompt
from turnwise.cli.chat.session import ChatSession
from turnwise.cli.chat.view import AnswerView
from turnwise.cli.exits import ExitStatus, explain
from turnwise.cli.output import fail
from turnwise.types.event import MessageEvent, ReasoningTokenEvent, TokenEvent

if TYPE_CHECKING:
    from turnwise.types.event import CompleteEvent

__all__ = ["Chat"]

_ENDS = {
    "length": "The answer reached the model's length limit. Ask it to go on.",
    "iteration": "The answer reached the limit of its iterations. Ask it to go on.",
    "abort": "The answer was aborted.",
}


class Chat:
    """Reads, answers, and goes on whatever goes wrong, until somebody leaves."""

    def __init__(
        self, session: ChatSession, console: Console, prompt: Prompt, runner: asyncio.Runner, *, stream: bool
    ) -> None:
        self._session = session
        self._console = console
        self._prompt = prompt
        self._runner = runner
        self._stream = stream

    def run(self) -> ExitStatus:
        """Chat until `/quit`, Ctrl-D or Ctrl-C at an empty prompt."""
        while True:
            try:
                line = self._prompt.read().strip()
            except EOFError:
                return ExitStatus.DONE
            except KeyboardInterrupt:
                return ExitStatus.INTERRUPTED
            try:
                self._take(line)
            except commands.Leave:
                return ExitStatus.DONE

    def _take(self, line: str) -> None:
        if not line:
            return
        if line.startswith("/") and not line.startswith("//"):
            self._guarded(commands.run(line, self._session, self._console), stopped="Stopped.")
        else:
            self._console.print()
            self._guarded(self._answer(line.removeprefix("/")), stopped="Stopped. What was said so far is kept.")
        self._console.print()

    def _guarded(self, work: Coroutine[object, object, None], *, stopped: str) -> None:
        """Run `work`; tell of Ctrl-C and of foreseen errors in one line."""
        try:
            with silent():
                self._runner.run(work)
        except KeyboardInterrupt:
            self._tell(stopped)
        except commands.Leave:
            raise
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            fail(line)

    async def _answer(self, text: str) -> None:
        if self._console.is_dumb_terminal:
            await answer_text(self._session, text, stream=self._stream)
            return
        view = AnswerView(self._console)
        async with view.shown():
            if self._stream:
                reason = await self._streamed(text, view)
            else:
                result = await self._session.whole(text)
                view.feed(result.text)
                reason = result.end.reason
        if reason in _ENDS:
            self._tell(_ENDS[reason])

    async def _streamed(self, text: str, view: AnswerView) -> str:
        async with self._session.streamed(text) as stream:
            async for event in stream:
                show(event, view)
        return stream.result.end.reason

    def _tell(self, text: str) -> None:
        self._console.print(Text(text, "dim"))


def show(event: CompleteEvent, view: AnswerView) -> None:
    """Put what an event says before the reader's eyes."""
    match event:
        case TokenEvent():
            view.feed(event.data.token)
        case ReasoningTokenEvent():
            view.feed(event.data.token, "reasoning")
        case MessageEvent() if event.data.type == "bot":
            view.break_off()
        case _:
            pass
