"""`turnwise serve`, as it is called."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from turnwise.cli.connect import usage_errors

__all__ = ["serve"]


def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; 0.0.0.0 is every address.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 is any free one.", show_default="8787")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many processes serve on the port; more need PostgreSQL.", show_default="1"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="For example sqlite:////var/lib/turnwise.db, or postgresql://user@host/name.",
            show_default="a file in your data folder",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Who answers where a conversation names nobody. `offline` needs no model."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Further models that conversations may name.")
    ] = None,
    openai_base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible model server; its key in OPENAI_API_KEY.")
    ] = None,
    discover: Annotated[
        bool | None,
        typer.Option(
            "--discover/--no-discover", help="Look for a local model server where none is set.", show_default="discover"
        ),
    ] = None,
    cors_origins: Annotated[
        str | None, typer.Option(metavar="ORIGIN,ORIGIN", help="Whose pages may read answers.", show_default="*")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option(help="How log lines are written.", show_default="text")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None, typer.Option(help="What is logged.", show_default="info")
    ] = None,
) -> None:
    """Serve the conversation API until Ctrl-C or SIGTERM.

    Running replies may then take 30 seconds to end; a second Ctrl-C ends them
    at once. With several --workers, SIGHUP replaces these one after another,
    without a failed request, and they read their settings anew.

    The first start makes a secret and prints it once, unless TURNWISE_SECRET
    holds one. Everything can also be set in the environment, as TURNWISE_HOST,
    TURNWISE_DATABASE_URL and so on, or in the file that TURNWISE_CONFIG names.
    """
    from turnwise.server.settings import load_settings

    flags: dict[str, object] = {
        "host": host,
        "port": port,
        "workers": workers,
        "database_url": database,
        "model": model,
        "models": models,
        "openai_base_url": openai_base_url,
        "discover": discover,
        "cors_origins": cors_origins,
        "log_format": log_format,
        "log_level": log_level,
    }
    with usage_errors():
        settings = load_settings(flags)
        if settings.workers > 1:
            from turnwise.server.workers.supervisor import supervise

            supervise(settings, flags)
        else:
            from turnwise.server.serve import run

            run(settings)
