"""The command line: its groups, and how every command ends."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from turnwise.cli import conversation, database, message, secret
from turnwise.cli.chat.command import chat
from turnwise.cli.exits import ExitStatus, explain, status_of
from turnwise.cli.serve import serve

__all__ = ["app", "main"]


class _Ends(TyperGroup):
    """Turns every foreseen error into one line on stderr and the exit status that tells its kind."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            from turnwise.cli.output import fail

            fail(line)
            raise typer.Exit(status_of(error)) from None


app = typer.Typer(
    cls=_Ends,
    name="turnwise",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 error, 2 usage, 3 not authenticated, 4 not found, 130 interrupted.",
)
app.command()(chat)
app.command()(serve)
app.add_typer(secret.app, name="secret")
app.add_typer(conversation.app, name="conversation")
app.add_typer(message.app, name="message")
app.add_typer(database.app, name="database")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"turnwise {version('turnwise')}")
        raise typer.Exit(ExitStatus.DONE)


@app.callback()
def turnwise(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Conversations with bots: a chat in the terminal, the server behind it, and what both keep."""


def main() -> None:
    """Run the command line and exit with the command's status."""
    app(prog_name="turnwise")
