"""`turnwise message`: what was said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from turnwise.cli.connect import BaseUrl, Database, client

if TYPE_CHECKING:
    from turnwise.types.conversation import Order
    from turnwise.types.message import Message

__all__ = ["app", "message_style"]

app = typer.Typer(help="Look at messages.", no_args_is_help=True)


@app.callback()
def message() -> None:
    """Keep `list` a command of its own, however few there are."""


@app.command("list")
def list_(
    *,
    conversation_id: Annotated[str, typer.Argument(metavar="CONVERSATION", help="The conversation's id.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    base_url: BaseUrl = None,
    database: Database = None,
) -> None:
    """List a conversation's messages, oldest first."""
    from itertools import islice

    from turnwise.cli.output import write_json

    with client(base_url, database) as turnwise:
        order: Order = "desc" if newest else "asc"
        page = turnwise.conversation.message.list(conversation_id, order=order, take=min(limit, 100))
        messages = islice(page, limit)
        if as_json:
            write_json(messages)
        else:
            _write_table(messages)


def message_style(type: str) -> str:
    """Return the colour that tells who speaks."""
    return {"user": "bold cyan", "bot": "bold green"}.get(type, "dim")


def _write_table(messages: Iterable[Message]) -> None:
    from rich.text import Text

    from turnwise.cli.output import ago, note, one_line, stdout, table

    rows = table("ID", "Type", "Text", "When", whole=("ID", "When"), wide="Text")
    for message in messages:
        rows.add_row(
            message.id,
            Text(one_line(message.type), message_style(message.type)),
            Text(one_line(message.text)),
            Text(ago(message.created_at), "dim"),
        )
    if rows.row_count:
        stdout().print(rows)
    else:
        note("This conversation has no messages.")
