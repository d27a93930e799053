"""`turnwise secret`: who may use a server, told to its database directly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from turnwise.cli.connect import Database, usage_errors

if TYPE_CHECKING:
    from turnwise.server.services.account import AccountService
    from turnwise.server.storage.base import SecretInfo

__all__ = ["app"]

T = TypeVar("T")

app = typer.Typer(help="Make, list and revoke the secrets of a server's accounts.", no_args_is_help=True)


@app.command()
def create(
    account: Annotated[str, typer.Option(help="Whose secret it is. The account is made if there is none.")],
    database: Database = None,
) -> None:
    """Make a secret and print it, once: only a hash of it is stored."""
    from turnwise.cli.output import data, note

    made = asyncio.run(_with_accounts(database, lambda accounts: accounts.create_secret(account)))
    data(made.secret)
    note(f"This is the only time it is shown. Account {made.account.name}, secret {made.id}.")


@app.command("list")
def list_(
    database: Database = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List what is known of all secrets: never the secrets themselves."""
    secrets = asyncio.run(_with_accounts(database, lambda accounts: accounts.secrets()))
    if as_json:
        _write_json(secrets)
    else:
        _write_table(secrets)


@app.command()
def revoke(
    secret_id: Annotated[
        str, typer.Argument(metavar="ID", help="The secret's id, as `turnwise secret list` shows it.")
    ],
    database: Database = None,
) -> None:
    """Revoke a secret: running servers refuse it within a second."""
    from turnwise.cli.output import note

    revoked = asyncio.run(_with_accounts(database, lambda accounts: accounts.revoke_secret(secret_id)))
    note(f"Revoked secret {revoked.id} of account {revoked.account.name}.")


async def _with_accounts(database: str | None, work: Callable[[AccountService], Awaitable[T]]) -> T:
    from turnwise.server.ids import new_id, now
    from turnwise.server.services.account import AccountService
    from turnwise.server.settings import load_settings
    from turnwise.server.storage.open import storage_at

    with usage_errors():
        settings = load_settings({"database_url": database})
        storage = storage_at(settings.database, migrate=settings.migrate)
    await storage.open()
    try:
        return await work(AccountService(storage, new_id=new_id, clock=now))
    finally:
        await storage.close()


def _write_json(secrets: Sequence[SecretInfo]) -> None:
    import msgspec

    from turnwise.cli.output import data

    for secret in secrets:
        fields = {
            "id": secret.id,
            "account": secret.account.name,
            "hint": secret.hint,
            "createdAt": secret.created_at,
            "revokedAt": secret.revoked_at,
        }
        data(msgspec.json.encode(fields).decode())


def _write_table(secrets: Sequence[SecretInfo]) -> None:
    from rich.text import Text

    from turnwise.cli.output import ago, note, one_line, print_table

    if not secrets:
        note("There are no secrets yet. `turnwise secret create --account NAME` makes one.")
        return
    rows = [
        [
            Text(each.id),
            Text(one_line(each.account.name)),
            Text(f"{each.hint}…", "dim"),
            Text(ago(each.created_at), "dim"),
            Text("valid", "green") if each.revoked_at is None else Text("revoked", "red"),
        ]
        for each in secrets
    ]
    print_table(["ID", "Account", "Begins", "Created", "State"], rows, wide="Account")
