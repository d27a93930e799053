# ruff: noqa: D103 - the port, base.py, says what the methods promise that these carry out
"""Accounts, secrets and settings."""

from __future__ import annotations

from typing import Final, cast

from turnwise.server.errors import Conflict, NotFound
from turnwise.server.storage.base import Account, SecretInfo
from turnwise.server.storage.jobs.rows import Database, Row, run
from turnwise.server.storage.jobs.statements import load

__all__ = [
    "account_open",
    "accounts",
    "add_secret",
    "ensure_account",
    "find_account",
    "revoke_secret",
    "secrets",
    "signing_key",
]

SQL: Final = load("accounts")


def ensure_account(db: Database, account: Account, now: int) -> Account:
    run(db, SQL["add_account"], account.id, account.name, now)
    return _account(run(db, SQL["account_by_name"], account.name).fetchone())


def accounts(db: Database) -> list[Account]:
    return [_account(row) for row in run(db, SQL["accounts"])]


def add_secret(db: Database, account_id: str, *, secret_id: str, digest: bytes, hint: str, now: int) -> None:
    if run(db, SQL["account_exists"], account_id).fetchone() is None:
        raise NotFound(f"There is no account {account_id!r}. Make it before its secrets.")
    if run(db, SQL["add_secret"], secret_id, account_id, digest, hint, now).fetchone() is None:
        raise Conflict("This secret belongs to another account already. Use a secret of its own for each account.")


def find_account(db: Database, digest: bytes) -> Account | None:
    row = run(db, SQL["account_by_digest"], digest).fetchone()
    return None if row is None else _account(row)


def account_open(db: Database, account_id: str) -> bool:
    return bool(run(db, SQL["account_open"], account_id).fetchone()[0])


def secrets(db: Database) -> list[SecretInfo]:
    return [_secret(row) for row in run(db, SQL["secrets"])]


def revoke_secret(db: Database, secret_id: str, now: int) -> SecretInfo:
    run(db, SQL["revoke_secret"], now, secret_id)
    row = run(db, SQL["secret"], secret_id).fetchone()
    if row is None:
        raise NotFound(f"There is no secret {secret_id!r}. `turnwise secret list` shows those there are.")
    return _secret(row)


def signing_key(db: Database, proposal: bytes) -> bytes:
    run(db, SQL["add_setting"], "signing_key", proposal)
    return cast("bytes", run(db, SQL["setting"], "signing_key").fetchone()[0])


def _account(row: Row) -> Account:
    return Account(str(row[0]), str(row[1]))


def _secret(row: Row) -> SecretInfo:
    id_, account_id, account_name, hint, created_at, revoked_at = row
    return SecretInfo(
        id=str(id_),
        account=Account(str(account_id), str(account_name)),
        hint=str(hint),
        created_at=cast("int", created_at),
        revoked_at=cast("int | None", revoked_at),
    )
