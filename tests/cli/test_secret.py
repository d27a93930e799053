from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from turnwise.cli.app import app


def secret(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["secret", *arguments])


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNWISE_DATABASE_URL", f"sqlite:///{tmp_path / 'secrets.db'}")


def test_a_new_secret_alone_is_on_stdout() -> None:
    made = secret("create", "--account", "shop")
    assert made.exit_code == 0
    assert len(made.stdout.split()) == 1
    assert made.stdout.strip() not in made.stderr


def test_the_list_never_shows_a_secret() -> None:
    made = secret("create", "--account", "shop").stdout.strip()
    for shown in (secret("list"), secret("list", "--json")):
        assert made not in shown.stdout
        assert "shop" in shown.stdout


def test_a_revoked_secret_is_listed_as_such() -> None:
    secret("create", "--account", "shop")
    [before] = [json.loads(line) for line in secret("list", "--json").stdout.splitlines()]
    assert secret("revoke", before["id"]).exit_code == 0
    [after] = [json.loads(line) for line in secret("list", "--json").stdout.splitlines()]
    assert (before["revokedAt"], before["account"]) == (None, "shop")
    assert after["revokedAt"] >= before["createdAt"]
    assert "revoked" in secret("list").stdout


def test_revoking_what_is_not_there_is_status_4() -> None:
    ended = secret("revoke", "nothing")
    assert (ended.exit_code, ended.stdout) == (4, "")


def test_a_database_that_cannot_be_is_a_usage_error() -> None:
    ended = secret("list", "--database", "mysql://example")
    assert ended.exit_code == 2
    assert "mysql" in ended.stderr


def test_an_account_has_to_be_named() -> None:
    assert secret("create").exit_code == 2
