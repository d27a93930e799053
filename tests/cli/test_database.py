from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, Command
from tests.cli.terminal import CTRL_C, terminal
from typer.testing import CliRunner, Result

from turnwise.cli.app import app
from turnwise.server.storage import migrations
from turnwise.server.storage.database import SCHEMA_VERSION

WIDTH = 80


def database(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["database", *arguments])


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a secret and as many messages as take a moment to copy."""
    made = tmp_path / "made.db"
    assert CliRunner().invoke(app, ["secret", "create", "--account", "shop", "--database", url(made)]).exit_code == 0
    with closing(sqlite3.connect(made)) as connection, connection:
        connection.execute(
            "INSERT INTO messages (conversation, sequence, id, type, created_at, updated_at, text) "
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) "
            "SELECT 1, i, i, 'user', 1, 1, 'a text' FROM n"
        )
    return made


# migrate


def test_migrate_says_what_it_made_and_what_it_upgraded(tmp_path: Path) -> None:
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    migrations.upgrade(old, "0001")
    made = database("migrate", "--database", url(new))
    assert (made.exit_code, made.stdout) == (0, "")
    assert f"Made the tables in {url(new)}, version {SCHEMA_VERSION}." in " ".join(made.stderr.split())
    upgraded = database("migrate", "--database", url(old))
    assert f"Upgraded {url(old)} from version 0001 to {SCHEMA_VERSION}." in " ".join(upgraded.stderr.split())
    again = database("migrate", "--database", url(old))
    assert (again.exit_code, "Nothing to do" in again.stderr) == (0, True)


def test_migrate_tells_a_program_the_versions(tmp_path: Path) -> None:
    migrations.upgrade(tmp_path / "old.db", "0002")
    told = database("migrate", "--json", "--database", url(tmp_path / "old.db"))
    assert json.loads(told.stdout) == {"database": url(tmp_path / "old.db"), "before": "0002", "after": SCHEMA_VERSION}
    assert told.stderr == ""


def test_migrate_says_what_to_check_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = database("migrate", "--database", url(tmp_path / "file" / "new.db"))
    said = " ".join(refused.stderr.split())
    assert (refused.exit_code, "cannot be made" in said, "Check that its folder" in said) == (1, True, True)


def test_migrate_works_where_servers_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNWISE_MIGRATE", "false")
    place = ("--database", url(tmp_path / "new.db"))
    refused = CliRunner().invoke(app, ["secret", "list", *place])
    assert (refused.exit_code, "`turnwise database migrate`" in " ".join(refused.stderr.split())) == (1, True)
    assert database("migrate", *place).exit_code == 0
    assert CliRunner().invoke(app, ["secret", "list", *place]).exit_code == 0


# status


def test_status_shows_version_size_servers_turns_and_rows(path: Path) -> None:
    shown = database("status", "--database", url(path))
    assert shown.exit_code == 0
    text = shown.stdout
    assert f"{SCHEMA_VERSION}  as this Turnwise has it" in text
    assert re.search(r"^Size +\d+(\.\d+)? MB *$", text, re.MULTILINE)
    assert re.search(r"^Servers +none running *$", text, re.MULTILINE)
    assert re.search(r"^Turns +0 running, 0 waiting *$", text, re.MULTILINE)
    assert re.search(r"^messages +120,000 *$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_status_tells_a_program_everything_in_one_object(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO processes VALUES ('alive', 9999999999999), ('dead', 1)")
        for id_, state in (("1", "running"), ("2", "waiting"), ("3", "waiting")):
            connection.execute(
                "INSERT INTO turns (id, account, kind, state, owner, attempt, cancel, tokens, created_at, request) "
                "VALUES (?, 'a', 'dispatch', ?, 'alive', 1, FALSE, 0, 1, x'')",
                (id_, state),
            )
    told = json.loads(database("status", "--json", "--database", url(path)).stdout)
    assert (told["database"], told["version"], told["knownVersion"]) == (url(path), SCHEMA_VERSION, SCHEMA_VERSION)
    assert (told["state"], told["processes"], told["turns"]) == ("current", 1, {"running": 1, "waiting": 2})
    assert told["bytes"] > 1_000_000
    assert {"name": "messages", "rows": 120_000, "exact": True} in told["tables"]


def test_status_of_an_older_database_says_what_to_do_and_changes_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    migrations.upgrade(old, "0001")
    before = old.read_bytes()
    shown = database("status", "--database", url(old))
    assert "0001  older than this Turnwise's" in shown.stdout
    assert "run `turnwise database migrate`" in " ".join(shown.stdout.split())
    assert old.read_bytes() == before


@pytest.mark.parametrize("version, said", [("9999", "newer than"), ("copying", "an unfinished copy")])
def test_status_says_what_any_version_means(path: Path, version: str, said: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    assert said in database("status", "--database", url(path)).stdout


def test_status_makes_no_file(tmp_path: Path) -> None:
    shown = database("status", "--database", url(tmp_path / "none.db"))
    assert (shown.exit_code, "There is no database at" in " ".join(shown.stderr.split())) == (1, True)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("command", ["status", "migrate"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, command: str) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes, and no database at all")
    refused = database(command, "--database", url(notes))
    told = " ".join(refused.stderr.split())
    assert (refused.exit_code, "cannot be opened: file is not a database" in told) == (1, True)
    assert notes.read_text() == "my notes, and no database at all"


def test_status_tells_tables_of_something_else_from_none(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE turns (id int)")
    assert "something else made these tables" in database("status", "--database", url(tmp_path / "shop.db")).stdout


@pytest.mark.parametrize(
    "table, version", [("orders", "1975ea83b712"), ("conversations", "1975ea83b712"), ("orders", SCHEMA_VERSION)]
)
def test_a_database_that_another_program_migrates_is_not_taken_for_a_newer_one(
    tmp_path: Path, table: str, version: str
) -> None:
    place = tmp_path / "shop.db"
    with closing(sqlite3.connect(place)) as shop, shop:
        shop.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        shop.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        shop.execute(f"CREATE TABLE {table} (id int)")
    before = place.read_bytes()
    shown = database("status", "--database", url(place))
    assert (shown.exit_code, "something else made these tables" in shown.stdout) == (0, True)
    refused = database("migrate", "--database", url(place))
    assert (refused.exit_code, "something else made" in " ".join(refused.stderr.split())) == (1, True)
    assert place.read_bytes() == before


def test_an_empty_file_has_no_tables_yet(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert "no tables yet" in database("status", "--database", url(tmp_path / "empty.db")).stdout


@pytest.mark.parametrize("command", ["migrate", "status"])
def test_a_password_is_never_shown(command: str) -> None:
    ended = database(command, "--database", "postgresql://user:hunter2@127.0.0.1:1/db")
    assert ended.exit_code == 1
    assert "postgresql://127.0.0.1:1/db cannot be reached" in " ".join(ended.stderr.split())
    assert "hunter2" not in ended.output


# copy


def test_a_copy_that_is_piped_is_told_in_lines_without_colours(path: Path, tmp_path: Path, command: Command) -> None:
    ended = command("database", "copy", url(path), url(tmp_path / "copy.db"))
    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout + ended.stderr
    lines = ended.stderr.splitlines()
    assert "Copied accounts: 1 row (0 % of all)" in lines
    assert "Copied messages: 120,000 rows (99 % of all)" in lines
    assert "Compared messages: 120,000 rows (99 % of all)" in lines
    assert "votes" not in ended.stderr
    assert re.search(r"^messages +120,000 +[0-9a-f]{32} *$", ended.stdout, re.MULTILINE)
    assert max(map(len, ended.stdout.splitlines())) <= WIDTH


def test_a_copy_tells_a_program_a_table_a_line(path: Path, tmp_path: Path) -> None:
    ended = database("copy", url(path), url(tmp_path / "copy.db"), "--json")
    told = {each["table"]: each for each in map(json.loads, ended.stdout.splitlines())}
    assert told["messages"]["rows"] == 120_000
    assert told["votes"] == {"table": "votes", "rows": 0, "checksum": "0" * 32}


def test_in_a_terminal_a_copy_shows_how_far_it_is_and_goes_on_after_ctrl_c(path: Path, tmp_path: Path) -> None:
    copy = (*COMMAND, "database", "copy", url(path), url(tmp_path / "copy.db"))
    with terminal(*copy) as shown:
        shown.expect(r"Copying +messages +[━╸╺ ]+\d+%")
        shown.type(CTRL_C)
        shown.expect("goes on where it")
        assert shown.status() == 130
    with terminal(*copy) as shown:
        shown.expect(r"Copied .*100%")
        shown.expect(r"Compared .*100%")
        shown.expect(r"Copied 120,00\d rows")
        assert shown.status() == 0
        assert "\x1b[3" in shown.raw
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.raw))
    assert max(map(len, lines)) <= WIDTH


def test_no_color_leaves_the_bar_and_takes_its_colours(path: Path, tmp_path: Path) -> None:
    with terminal(*COMMAND, "database", "copy", url(path), url(tmp_path / "copy.db"), NO_COLOR="1") as shown:
        shown.expect(r"Copied .*100%")
        assert shown.status() == 0
    assert not re.search(r"\x1b\[(\d+;)*(3[0-7]|38)", shown.raw)


def test_a_copy_that_cannot_be_is_refused_with_status_1(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert CliRunner().invoke(app, ["secret", "create", "--account", "me", "--database", url(other)]).exit_code == 0
    refused = database("copy", url(path), url(other))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "holds data already (in accounts, secrets)" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("wrong", ["nothing", "mysql://host/db", "sqlite://"])
def test_what_is_no_database_url_is_a_usage_error(path: Path, wrong: str) -> None:
    assert database("copy", url(path), wrong).exit_code == 2
    assert database("copy", wrong, url(path)).exit_code == 2
