"""`turnwise chat`, as it is called."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turnwise.cli.connect import BaseUrl, Database, Origin, origin, usage_errors
from turnwise.cli.exits import CommandFailed, ExitStatus
from turnwise.cli.output import note

if TYPE_CHECKING:
    from rich.console import Console

    from turnwise.cli.chat.session import ChatSession

__all__ = ["chat"]


def chat(
    *,
    conversation_id: Annotated[
        str | None, typer.Argument(metavar="CONVERSATION", help="The id of a conversation to go on with.")
    ] = None,
    backstory: Annotated[
        str | None,
        typer.Option(metavar="TEXT|@FILE", help="Who the bot is and what it knows; @FILE reads it from a file."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Who answers. `offline` needs no model and looks for none.")
    ] = None,
    base_url: BaseUrl = None,
    database: Database = None,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Show answers while they are made.")] = True,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Answer lines of stdin with events (with --no-stream: results) as JSON lines."),
    ] = False,
    continue_: Annotated[
        bool, typer.Option("--continue", "-c", help="Go on with the conversation you were in last.")
    ] = False,
) -> None:
    r"""Talk to a bot.

    At a terminal: Enter sends, Alt-Enter begins a new line, Ctrl-C stops
    an answer, /help lists commands.

    With stdin from a file or a pipe, each line is a message and the answers
    go to stdout, each ended by a line break:

        printf 'When do you open?\n' | turnwise chat
    """
    if conversation_id and continue_:
        raise typer.BadParameter("name a conversation or continue the last one, not both.", param_hint="--continue")
    told = _backstory(backstory)
    with origin(base_url, database, model=model) as server, asyncio.Runner() as runner:
        status = _chat(
            server, runner, conversation_id, backstory=told, model=model, stream=stream, as_json=as_json, last=continue_
        )
    raise typer.Exit(status)


def _chat(
    server: Origin,
    runner: asyncio.Runner,
    conversation_id: str | None,
    *,
    backstory: str | None,
    model: str | None,
    stream: bool,
    as_json: bool,
    last: bool,
) -> ExitStatus:
    from turnwise import AsyncTurnwise
    from turnwise.cli.chat.session import ChatSession
    from turnwise.cli.chat.state import LastConversations
    from turnwise.cli.folder import data_folder

    with usage_errors():
        client = AsyncTurnwise(secret=server.secret, base_url=server.url)
    try:
        session = ChatSession(client.conversation, server.place, LastConversations(data_folder() / "last.json"))
        session.backstory = backstory
        # A server in this process was started with the model; elsewhere, the conversation has to name it.
        session.model = None if server.embedded else model
        session.preferred_model = server.model
        for each in server.notes:
            note(each)
        runner.run(_enter(session, conversation_id, backstory=backstory, model=model, last=last))
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            from turnwise.cli.chat.lines import run_lines

            run_lines(session, sys.stdin, runner, stream=stream, as_json=as_json)
            return ExitStatus.DONE
        return _interactive(session, runner, stream=stream)
    finally:
        runner.run(client.aclose())


async def _enter(
    session: ChatSession, conversation_id: str | None, *, backstory: str | None, model: str | None, last: bool
) -> None:
    """Open the conversation that was asked for; what the command line says of its bot is changed in it."""
    if last:
        conversation_id = await session.open_last()
        if conversation_id is None:
            note("There is no last conversation here: a new one begins.")
    elif conversation_id is not None:
        await session.open(conversation_id)
    if conversation_id is None:
        return
    if model is not None:
        await session.use_model(model)
    if backstory is not None:
        await session.use_backstory(backstory)


def _interactive(session: ChatSession, runner: asyncio.Runner, *, stream: bool) -> ExitStatus:
    from turnwise.cli.chat.commands import choices, show_latest
    from turnwise.cli.chat.interactive import Chat
    from turnwise.cli.chat.prompt import Prompt
    from turnwise.cli.chat.render import THEME
    from turnwise.cli.folder import data_folder
    from turnwise.cli.output import stdout

    console = stdout()
    console.push_theme(THEME)
    prompt = Prompt(data_folder() / "history", lambda command: choices(session, command))
    _greet(console, session.model or session.preferred_model)
    runner.run(show_latest(session, console))
    console.print()
    return Chat(session, console, prompt, runner, stream=stream).run()


def _greet(console: Console, model: str | None) -> None:
    from rich.text import Text

    who = f" · {model}" if model else ""
    console.print(Text("Turnwise", "bold").append(f"{who} · Enter sends · Alt-Enter new line · /help", "not bold dim"))


def _backstory(told: str | None) -> str | None:
    if told is None or not told.startswith("@"):
        return told
    path = Path(told[1:]).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandFailed(
            f"Cannot read the backstory from {path}: {reason}. Name a text file after the @, or give the text itself.",
            status=ExitStatus.USAGE,
        ) from error
