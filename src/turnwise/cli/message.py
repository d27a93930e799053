"""`turnwise message`: what was said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from turnwise.cli.connect import BaseUrl, Database, client

if TYPE_CHECKING:
    from turnwise.types.conversation import Order
    from turnwise.types.message import Message

__all__ = ["app"]

_STYLES = {"user": "cyan", "bot": "green"}

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


def _write_table(messages: Iterable[Message]) -> None:
    from rich.text import Text

    from turnwise.cli.output import ago, note, one_line, print_table

    rows = [
        [
            Text(each.id),
            Text(one_line(each.type), _STYLES.get(each.type, "dim")),
            Text(one_line(each.text)),
            Text(ago(each.created_at), "dim"),
        ]
        for each in messages
    ]
    if rows:
        print_table(["ID", "Type", "Text", "When"], rows, wide="Text")
    else:
        note("This conversation has no messages.")
