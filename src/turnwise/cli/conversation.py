"""`turnwise conversation`: what is stored of conversations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from turnwise.cli.connect import BaseUrl, Database, client
from turnwise.cli.exits import CommandFailed, ExitStatus

if TYPE_CHECKING:
    from rich.console import Console

    from turnwise import Turnwise
    from turnwise.types.conversation import Conversation
    from turnwise.types.message import Message

__all__ = ["app", "print_conversations", "title"]

_MODEL_LENGTH = 20

Id = Annotated[str, typer.Argument(metavar="CONVERSATION", help="The conversation's id.")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, everything else on stderr.")]

app = typer.Typer(help="List, show, export and delete conversations.", no_args_is_help=True)


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Json = False,
    base_url: BaseUrl = None,
    database: Database = None,
) -> None:
    """List conversations, newest first; with --json one JSON object a line."""
    from itertools import islice

    from turnwise.cli.output import write_json

    with client(base_url, database) as turnwise:
        conversations = islice(turnwise.conversation.list(take=min(limit, 100)), limit)
        if as_json:
            write_json(conversations)
        else:
            print_conversations(conversations)


@app.command()
def show(
    *,
    conversation_id: Id,
    as_json: Json = False,
    base_url: BaseUrl = None,
    database: Database = None,
) -> None:
    """Show a conversation and what was said in it; with --json the conversation as one JSON object."""
    from turnwise.cli.output import write_json

    with client(base_url, database) as turnwise:
        conversation = turnwise.conversation.fetch(conversation_id)
        if as_json:
            write_json([conversation])
        else:
            _write_conversation(conversation, turnwise.conversation.message.list(conversation_id))


@app.command()
def export(
    *,
    conversation_ids: Annotated[
        list[str] | None, typer.Argument(metavar="CONVERSATION", help="Only these; all unless given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; stdout unless given.")
    ] = None,
    format: Annotated[Literal["jsonl", "csv"], typer.Option(help="One JSON object a line, or a table.")] = "jsonl",
    messages: Annotated[
        bool, typer.Option("--messages", help="With each conversation's messages (jsonl only).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    base_url: BaseUrl = None,
    database: Database = None,
) -> None:
    """Export conversations, all of them or those named."""
    from turnwise.cli import export as exporting

    if as_json and format == "csv":
        raise typer.BadParameter("a table is not JSON; leave out one of --json and --format csv.", param_hint="--json")
    if messages and format == "csv":
        raise typer.BadParameter("messages do not fit a table; use --format jsonl with them.", param_hint="--messages")
    with client(base_url, database) as turnwise:
        found = _chosen(turnwise, conversation_ids or [])
        exporting.write(turnwise, found, output=output, format=format, messages=messages)


@app.command()
def delete(
    *,
    conversation_ids: Annotated[list[str], typer.Argument(metavar="CONVERSATION", help="The conversations' ids.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    base_url: BaseUrl = None,
    database: Database = None,
) -> None:
    """Delete conversations and all that was said in them, for good; with --json the id of each, one object a line."""
    import sys

    from turnwise.cli.output import note, write_json

    with client(base_url, database) as turnwise:
        conversations = [turnwise.conversation.fetch(each) for each in conversation_ids]
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody is there to be asked; pass --yes to delete.", param_hint="--yes")
            what = f"“{title(conversations[0])}”" if len(conversations) == 1 else f"{len(conversations)} conversations"
            if not _confirmed(f"Delete {what} for good?"):
                raise CommandFailed("Nothing was deleted.")
        for each in conversations:
            deleted = turnwise.conversation.delete(each.id)
            if as_json:
                write_json([deleted])
            else:
                note(f"Deleted {each.id}.")


def _confirmed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        raise typer.Exit(ExitStatus.INTERRUPTED) from None


def title(conversation: Conversation) -> str:
    """Return what a person knows the conversation by."""
    from turnwise.cli.output import one_line

    return one_line(conversation.name, otherwise=one_line(conversation.description, otherwise="untitled"))


def _chosen(turnwise: Turnwise, conversation_ids: list[str]) -> Iterator[Conversation]:
    if conversation_ids:
        yield from (turnwise.conversation.fetch(each) for each in conversation_ids)
        return
    with turnwise.conversation.export_stream() as events:
        from turnwise.types.event import ItemEvent

        for event in events:
            if isinstance(event, ItemEvent):
                yield event.data


def print_conversations(
    conversations: Iterable[Conversation],
    *,
    here: str | None = None,
    numbered: bool = False,
    console: Console | None = None,
) -> None:
    """Print a table of conversations, `here` set off, with ids or numbered from 1."""
    from rich.text import Text

    from turnwise.cli.output import ago, note, one_line, print_table, shortened

    rows = [
        [
            Text(str(number) if numbered else each.id),
            Text(title(each), "bold" if each.id == here else ""),
            Text(shortened(one_line(each.model), _MODEL_LENGTH), "dim"),
            Text(ago(each.updated_at), "dim"),
        ]
        for number, each in enumerate(conversations, start=1)
    ]
    if rows:
        print_table(["#" if numbered else "ID", "Name", "Model", "Updated"], rows, wide="Name", console=console)
    else:
        note("There are no conversations yet. `turnwise chat` begins one.")


def _write_conversation(conversation: Conversation, messages: Iterable[Message]) -> None:
    from rich.table import Table
    from rich.text import Text

    from turnwise.cli.chat.transcript import print_messages
    from turnwise.cli.output import ago, one_line, stdout

    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("ID", conversation.id),
        ("Name", one_line(conversation.name)),
        ("Model", one_line(conversation.model)),
        ("Backstory", one_line(conversation.backstory)),
        ("Created", ago(conversation.created_at)),
        ("Updated", ago(conversation.updated_at)),
    ):
        if value:
            facts.add_row(Text(name, "dim"), Text(value))
    stdout().print(facts)
    print_messages(stdout(), messages)
