"""`turnwise database`: what an operator does with a whole database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from turnwise.cli.connect import Database, database_url, usage_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from turnwise.server.storage.deployment.copy import TableCopy
    from turnwise.server.storage.deployment.status import DatabaseStatus

__all__ = ["app"]

_COUNT_WIDTH = 14

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, everything else on stderr.")]

app = typer.Typer(help="Upgrade a server's database, look at it, copy it to another one.", no_args_is_help=True)


@app.command()
def migrate(*, database: Database = None, as_json: Json = False) -> None:
    """Make the tables of a database, or upgrade them to this version.

    A server does so itself when it starts, unless TURNWISE_MIGRATE is false.
    Several at once wait for each other; an upgrade that fails leaves the
    database as it was.
    """
    from turnwise.cli.output import note
    from turnwise.server.storage.database import SCHEMA_VERSION

    label, before = asyncio.run(_migrated(database))
    if as_json:
        _write_json([{"database": label, "before": before, "after": SCHEMA_VERSION}])
    elif before is None:
        note(f"Made the tables in {label}, version {SCHEMA_VERSION}.")
    elif before == SCHEMA_VERSION:
        note(f"Nothing to do: {label} has version {SCHEMA_VERSION} already.")
    else:
        note(f"Upgraded {label} from version {before} to {SCHEMA_VERSION}.")


@app.command()
def status(*, database: Database = None, as_json: Json = False) -> None:
    """Show what a database holds: its version, its size, rows, servers and unfinished turns.

    It changes nothing and needs no server. Of large tables the number of
    rows is an estimate, marked with ~.
    """
    found = asyncio.run(_looked_at(database))
    if as_json:
        _write_json([_status_fields(found)])
    else:
        _write_status(found)


@app.command()
def copy(
    *,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The URL of the database to copy.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The URL of an empty database.")],
    running: Annotated[
        bool, typer.Option("--running", help="Copy although a server is running on the source.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what an unfinished copy left in the target.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy a whole database into an empty one, from SQLite to PostgreSQL for example.

    A copy that was interrupted goes on where it stopped when it is started
    again. At the end both databases are read and compared; only then can a
    server start on the target. Stop the servers on the source before.
    """
    from turnwise.cli.copying import shown
    from turnwise.server.storage.deployment.copy import CopyOptions, copy_deployment
    from turnwise.server.storage.deployment.open import deployment_at

    async def copied() -> tuple[str, Sequence[TableCopy]]:
        options = CopyOptions(running=running, restart=restart)
        async with deployment_at(source) as old, deployment_at(target, absent=True) as new:
            with shown() as report:
                return new.label, await copy_deployment(old, new, options=options, report=report)

    with usage_errors():
        label, tables = asyncio.run(copied())
    if as_json:
        _write_json([{"table": each.name, "rows": each.rows, "checksum": str(each.checksum)} for each in tables])
    else:
        _write_copied(label, tables)


async def _migrated(database: str | None) -> tuple[str, str | None]:
    from turnwise.server.storage.deployment.open import deployment_at

    with usage_errors():
        async with deployment_at(database_url(database), absent=True) as deployment:
            return deployment.label, await deployment.prepare()


async def _looked_at(database: str | None) -> DatabaseStatus:
    from turnwise.server.storage.deployment.open import deployment_at
    from turnwise.server.storage.deployment.status import status_of

    with usage_errors():
        async with deployment_at(database_url(database)) as deployment:
            return await status_of(deployment)


def _write_json(objects: Sequence[dict[str, object]]) -> None:
    import msgspec

    from turnwise.cli.output import data

    for each in objects:
        data(msgspec.json.encode(each).decode())


def _status_fields(found: DatabaseStatus) -> dict[str, object]:
    return {
        "database": found.database,
        "version": found.version,
        "knownVersion": found.known,
        "state": found.state,
        "bytes": found.size,
        "processes": found.processes,
        "turns": found.turns,
        "tables": [{"name": table.name, "rows": table.rows, "exact": table.exact} for table in found.tables],
    }


_STATES = {
    "current": ("as this Turnwise has it", "green"),
    "older": ("older than this Turnwise's {known}: run `turnwise database migrate`", "yellow"),
    "newer": ("newer than this Turnwise's {known}: use the Turnwise that wrote it", "red"),
    "copying": ("an unfinished copy: start the same `turnwise database copy` again", "yellow"),
    "foreign": ("none: something else made these tables; Turnwise needs a database of its own", "red"),
    "empty": ("no tables yet: `turnwise database migrate` makes them", "yellow"),
}


def _write_status(found: DatabaseStatus) -> None:
    from rich.table import Table
    from rich.text import Text

    from turnwise.cli.output import one_line, print_table, stdout

    meaning, colour = _STATES[found.state]
    version = [] if found.state in {"copying", "empty", "foreign"} else [one_line(found.version), "  "]
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("Database", Text(one_line(found.database))),
        ("Version", Text.assemble(*version, (meaning.format(known=found.known), colour))),
        ("Size", Text(_bytes(found.size))),
        ("Servers", Text(f"{found.processes} running" if found.processes else "none running")),
        ("Turns", Text(", ".join(f"{count:,} {state}" for state, count in found.turns.items()))),
    ):
        facts.add_row(Text(name, "dim"), value)
    stdout().print(facts)
    rows = [[Text(one_line(each.name)), _count(each.rows, exact=each.exact)] for each in found.tables]
    if rows:
        stdout().print()
        print_table(["Table", "Rows".rjust(_COUNT_WIDTH)], rows, wide="Table")


def _write_copied(label: str, tables: Sequence[TableCopy]) -> None:
    from rich.text import Text

    from turnwise.cli.output import note, print_table, stdout

    if stdout().is_terminal:
        stdout().print()
    rows = [[Text(each.name), _count(each.rows), Text(str(each.checksum), "dim")] for each in tables]
    print_table(["Table", "Rows".rjust(_COUNT_WIDTH), "Checksum, the same in both"], rows, wide="Table")
    note(f"Copied {sum(each.rows for each in tables):,} rows. Servers can start on {label} now.")


def _count(rows: int, *, exact: bool = True) -> Text:
    from rich.text import Text

    return Text(f"{'' if exact else '~'}{rows:,}".rjust(_COUNT_WIDTH), "" if rows else "dim")


def _bytes(count: int) -> str:
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} TB"
