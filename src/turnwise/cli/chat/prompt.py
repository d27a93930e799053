"""The line in which a person writes: several rows if need be, with history and completion of commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style

from turnwise.cli.chat.transcript import PROMPT

__all__ = ["Choice", "Choices", "Prompt"]

Choice = tuple[str, str]
"""What completes, and a word on what it is."""

Choices = Callable[[str], Sequence[Choice]]
"""Given the command before the cursor, or nothing, returns what may come next."""

_STYLE = Style.from_dict({"prompt": "bold ansicyan", "": "bold"})


class Prompt:
    """Reads messages. Enter sends; Alt-Enter, or Esc and Enter, begins a new line, and so does pasted text."""

    def __init__(
        self, history: Path, choices: Choices, *, input: Input | None = None, output: Output | None = None
    ) -> None:
        commands = _Commands(choices)
        self._session: PromptSession[str] = PromptSession(
            FormattedText([("class:prompt", PROMPT)]),
            multiline=True,
            prompt_continuation=" " * len(PROMPT),
            history=_history(history),
            completer=commands,
            complete_while_typing=Condition(self._is_command),
            key_bindings=_bindings(commands),
            style=_STYLE,
            input=input,
            output=output,
        )

    def read(self) -> str:
        """Return what was written.

        Raises:
            EOFError: Ctrl-D in an empty line.
            KeyboardInterrupt: Ctrl-C in an empty line; elsewhere it clears the line.
        """
        return self._session.prompt()

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")


def _history(path: Path) -> History:
    try:
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


class _Commands(Completer):
    def __init__(self, choices: Choices) -> None:
        self._choices = choices

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002 - the base class's signature
        text = document.text_before_cursor
        if text.startswith("/") and "\n" not in text:
            command, space, argument = text.partition(" ")
            yield from _matching(self._choices(command if space else ""), argument if space else command)


def _matching(choices: Sequence[Choice], begun: str) -> Iterator[Completion]:
    for text, meaning in choices:
        if text.startswith(begun):
            yield Completion(text, start_position=-len(begun), display_meta=meaning)


def _bindings(commands: Completer) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        state = event.current_buffer.complete_state
        if state is not None and state.current_completion is not None:
            event.current_buffer.complete_state = None
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("tab")
    def complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        found = list(commands.get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        if len(found) == 1:
            buffer.apply_completion(found[0])
        elif buffer.complete_state is not None:
            buffer.complete_next()
        else:
            buffer.start_completion(insert_common_part=True)

    @keys.add("escape", "enter")
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def clear_or_leave(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    _ = send, complete, break_line, clear_or_leave
    return keys
