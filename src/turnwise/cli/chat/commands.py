"""What can be done from within a chat, by lines that begin with a slash."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from turnwise.cli.chat.session import ChatSession
from turnwise.cli.chat.transcript import print_messages
from turnwise.cli.conversation import print_conversations, title
from turnwise.cli.exits import CommandFailed

if TYPE_CHECKING:
    from turnwise import AsyncPage
    from turnwise.cli.chat.prompt import Choice
    from turnwise.types.conversation import Conversation

__all__ = ["COMMANDS", "Command", "Leave", "choices", "run"]

_LISTED = 20
_RECENT = 20
_CODE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Leave(Exception):
    """The chat is to end."""


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command."""

    name: str
    argument: str
    meaning: str
    run: Callable[[ChatSession, Console, str], Awaitable[None]]


async def run(line: str, session: ChatSession, console: Console) -> None:
    """Run the command that a line names.

    Raises:
        Leave: the chat is to end.
        CommandFailed: there is no such command, or it needs something else.
    """
    name, _, argument = line.partition(" ")
    command = _find(name)
    await command.run(session, console, argument.strip())


def _find(name: str) -> Command:
    """Return the command of that name, or the only one that begins so."""
    begun = [command for command in COMMANDS.values() if command.name.startswith(name)]
    if name in COMMANDS or len(begun) == 1:
        return COMMANDS.get(name, begun[0])
    if begun and name != "/":
        raise CommandFailed(f"{name} may be {' or '.join(command.name for command in begun)}. Type one letter more.")
    raise CommandFailed(f"There is no command {name}. /help lists them; // begins a message that begins with a slash.")


def choices(session: ChatSession, command: str) -> list[Choice]:
    """Return what completes a line: the commands, or what may follow `command`."""
    if not command:
        return [(f"{each.name} " if each.argument else each.name, each.meaning) for each in COMMANDS.values()]
    if command == "/open":
        return [(str(number), name) for number, (_, name) in enumerate(session.listed, start=1)]
    if command == "/copy":
        return [("code", "the last code block alone")]
    return []


async def _new(session: ChatSession, console: Console, _argument: str) -> None:
    session.leave()
    _say(console, "A new conversation begins with your next message.")


async def _list(session: ChatSession, console: Console, _argument: str) -> None:
    page = await _latest(session)
    print_conversations(page.items, here=session.conversation_id, numbered=True, console=console)
    if page.items:
        _say(console, "/open # goes on with one of them.")


async def _latest(session: ChatSession) -> AsyncPage[Conversation]:
    page = await session.conversations.list(take=_LISTED)
    session.listed = [(each.id, title(each)) for each in page.items]
    return page


async def _open(session: ChatSession, console: Console, argument: str) -> None:
    if not argument:
        raise CommandFailed("/open needs a number that /list shows, or a conversation's id.")
    if argument.isdigit() and not session.listed:
        await _latest(session)
    known = argument.isdigit() and 0 < int(argument) <= len(session.listed)
    conversation = await session.open(session.listed[int(argument) - 1][0] if known else argument)
    await show_latest(session, console)
    console.print()
    _say(console, f"Going on with “{title(conversation)}”.")


async def _history(session: ChatSession, console: Console, _argument: str) -> None:
    if session.conversation_id is None:
        _say(console, "Nothing was said yet.")
        return
    pages = await session.conversations.message.list(session.conversation_id)
    print_messages(console, [message async for message in pages])


async def show_latest(session: ChatSession, console: Console) -> None:
    """Print the end of what was said in the conversation."""
    if session.conversation_id is None:
        return
    page = await session.conversations.message.list(session.conversation_id, order="desc", take=_RECENT)
    if page.cursor:
        console.print()
        _say(console, "/history shows what was said before.")
    print_messages(console, reversed(page.items))


async def _model(session: ChatSession, console: Console, argument: str) -> None:
    if argument:
        await session.use_model(argument)
        _say(console, f"{argument} answers from now on.")
    else:
        model = session.model or session.preferred_model or "the one the server prefers"
        _say(console, f"The model is {model}. /model NAME takes another.")


async def _copy(session: ChatSession, console: Console, argument: str) -> None:
    text = session.answer
    if argument == "code":
        blocks = _CODE.findall(text)
        text = blocks[-1] if blocks else ""
    if not text:
        raise CommandFailed("There is nothing to copy yet." if not argument else "The last answer has no code block.")
    # OSC 52 hands text to the clipboard of the terminal itself: it needs no other program, and works over SSH.
    console.file.write(f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07")
    console.file.flush()
    _say(console, f"Copied {len(text):,} characters, if your terminal lets programs use its clipboard.")


async def _help(_session: ChatSession, console: Console, _argument: str) -> None:
    grid = Table.grid(padding=(0, 2))
    for command in COMMANDS.values():
        grid.add_row(Text(command.name, "cyan").append(f" {command.argument}", "dim"), Text(command.meaning))
    console.print(grid)
    _say(console, "Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer, Ctrl-D leaves.")


async def _quit(_session: ChatSession, _console: Console, _argument: str) -> None:
    raise Leave


def _say(console: Console, text: str) -> None:
    console.print(Text(text, "dim"))


COMMANDS = {
    command.name: command
    for command in (
        Command("/new", "", "begin a new conversation", _new),
        Command("/list", "", "list the latest conversations", _list),
        Command("/open", "#|ID", "go on with a conversation", _open),
        Command("/history", "", "show what was said in this conversation", _history),
        Command("/model", "[NAME]", "show or choose who answers", _model),
        Command("/copy", "[code]", "copy the last answer, or its last code block", _copy),
        Command("/help", "", "list these commands", _help),
        Command("/quit", "", "leave", _quit),
    )
}
