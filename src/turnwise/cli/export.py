"""Conversations written to a file or to stdout, with progress where somebody watches."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import msgspec

from turnwise.cli.exits import CommandFailed
from turnwise.types.conversation import Conversation

if TYPE_CHECKING:
    from turnwise import Turnwise

__all__ = ["write"]

_COLUMNS = Conversation.__struct_encode_fields__


def write(
    turnwise: Turnwise,
    conversations: Iterable[Conversation],
    *,
    output: Path | None,
    format: Literal["jsonl", "csv"],
    messages: bool,
) -> None:
    """Write the conversations. A file appears under its name only when it is whole."""
    from turnwise.cli.output import note

    count = 0
    with _destination(output) as file:
        table = csv.DictWriter(file, _COLUMNS, extrasaction="ignore") if format == "csv" else None
        if table is not None:
            table.writeheader()
        for each in _watched(conversations, shown=output is not None):
            fields = each.to_dict()
            if messages:
                fields["messages"] = [message.to_dict() for message in turnwise.conversation.message.list(each.id)]
            if table is not None:
                table.writerow({name: _cell(value) for name, value in fields.items()})
            else:
                file.write(msgspec.json.encode(fields).decode() + "\n")
            count += 1
    if output is not None:
        note(f"Wrote {count} conversation{'s' if count != 1 else ''} to {output}.")


@contextmanager
def _destination(output: Path | None) -> Generator[TextIO]:
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    unfinished = output.with_name(output.name + ".part")
    try:
        file = unfinished.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise CommandFailed(f"Cannot write {output}: {error.strerror}. Choose another --output.") from error
    try:
        with file:
            yield file
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _watched(conversations: Iterable[Conversation], *, shown: bool) -> Iterator[Conversation]:
    """Show how many went by, on stderr, if somebody looks."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from turnwise.cli.output import stderr

    columns = (SpinnerColumn(), TextColumn("{task.completed} conversations"), TimeElapsedColumn())
    visible = shown and stderr().is_terminal and os.environ.get("TERM") != "dumb"
    with Progress(*columns, console=stderr(), transient=True, disable=not visible) as progress:
        task = progress.add_task("export", total=None)
        for each in conversations:
            yield each
            progress.advance(task)


def _cell(value: object) -> object:
    return value if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()
