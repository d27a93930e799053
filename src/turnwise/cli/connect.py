"""Which server a command talks to: the one that is configured, else one in this process, on SQLite."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from turnwise.cli.exits import CommandFailed, ExitStatus

if TYPE_CHECKING:
    from turnwise import Turnwise

__all__ = ["BaseUrl", "Database", "Origin", "client", "database_url", "origin", "usage_errors"]

BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TURNWISE_BASE_URL",
        metavar="URL",
        help="The server to talk to, with the secret in TURNWISE_SECRET. Without one, one runs inside this command.",
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        envvar="TURNWISE_DATABASE_URL",
        metavar="URL",
        help="Where conversations are kept when no server is given, for example sqlite:///chat.db. "
        "A file in your data folder unless set.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A server that answers."""

    url: str
    secret: str = field(repr=False)
    place: str
    """What identifies the conversations it holds, from one start to the next."""
    model: str | None = None
    """Who answers where a conversation names nobody; `None` for a server elsewhere, which does not tell."""
    notes: tuple[str, ...] = ()
    """What the user should know about it."""

    @property
    def embedded(self) -> bool:
        """Whether it runs in this process."""
        return self.model is not None


@contextmanager
def origin(base_url: str | None, database: str | None, *, model: str | None = "offline") -> Generator[Origin]:
    """Open the server at `base_url` or, where there is none, one on `database` for as long as the block runs."""
    if base_url:
        yield Origin(url=base_url, secret=_secret(base_url), place=base_url)
        return
    from turnwise.server.embed import embedded

    url = database_url(database)
    with ExitStack() as stack:
        with usage_errors():
            server = stack.enter_context(embedded(database_url=url, model=model))
        yield Origin(url=server.url, secret=server.secret, place=url, model=server.model, notes=server.notes)


@contextmanager
def client(base_url: str | None, database: str | None) -> Generator[Turnwise]:
    """Open a client for one command."""
    from turnwise import Turnwise

    with origin(base_url, database) as server:
        with usage_errors():
            opened = Turnwise(secret=server.secret, base_url=server.url)
        with opened:
            yield opened


def database_url(database: str | None) -> str:
    """Return the database that was asked for, or is set, or the one in the user's data folder."""
    from turnwise.server.settings import load_settings

    with usage_errors():
        return load_settings({"database_url": database}).database


@contextmanager
def usage_errors() -> Generator[None]:
    """Report settings and addresses that cannot be as what they are: errors of the command line."""
    try:
        yield
    except ValueError as error:
        raise CommandFailed(str(error), status=ExitStatus.USAGE) from error


def _secret(base_url: str) -> str:
    from os import environ

    secret = environ.get("TURNWISE_SECRET", "")
    if not secret:
        raise CommandFailed(
            f"No secret for {base_url}. Set TURNWISE_SECRET; `turnwise secret create --account NAME` on the server "
            "makes one.",
            status=ExitStatus.NOT_AUTHENTICATED,
        )
    return secret
