from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from typer.testing import CliRunner

from turnwise._errors import error_class
from turnwise.cli.app import app
from turnwise.cli.exits import CommandFailed, ExitStatus, explain, status_of


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"turnwise \d+\.\d+\.\d+\S*\n", CliRunner().invoke(app, ["--version"]).stdout)


@pytest.mark.parametrize(
    "command",
    [(), ("chat",), ("serve",), ("secret", "create"), ("conversation", "export"), ("message", "list")],
)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0
    assert "Usage: " in shown.stdout


def test_exit_statuses_are_in_the_help() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    for status in ExitStatus:
        assert re.search(rf"\b{status.value} \w+", shown)


@pytest.mark.parametrize("arguments", [("nonsense",), ("chat", "--nonsense"), ("conversation", "list", "--limit", "0")])
def test_a_wrong_command_line_is_status_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(arguments)).exit_code == 2


def test_completion_for_the_shell_is_printed(command: Command) -> None:
    completed = command(_TURNWISE_COMPLETE="complete_bash", COMP_WORDS="turnwise conv", COMP_CWORD="1")
    assert completed.stdout.split() == ["conversation"]


def test_help_does_not_import_what_only_commands_need() -> None:
    program = (
        "import sys; from turnwise.cli import app; "
        "print(sorted({'aiohttp','prompt_toolkit','rich.markdown','starlette','uvicorn','urllib3'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_foreseen_errors_are_one_line() -> None:
    error = CommandFailed("It broke.\nMend it.", status=ExitStatus.NOT_FOUND)
    assert (explain(error), status_of(error)) == ("It broke. Mend it.", 4)


@pytest.mark.parametrize(
    "status,message,told",
    [
        (503, "It is asleep. Wake it up.", "It is asleep. Wake it up."),
        (400, "text is missing", "text is missing"),
        (404, "There is no such thing", "There is no such thing. Check the id"),
        (500, "It broke. Sorry.", "It broke. Sorry. [500 CODE, request r1] Call again later"),
    ],
)
def test_the_servers_own_advice_is_enough_where_it_gives_some(status: int, message: str, told: str) -> None:
    error = error_class(status)(message, status=status, code="CODE", request_id="r1")
    shown = explain(error)
    assert shown is not None
    assert shown.startswith(told)
    assert (shown == told) == (status in {400, 503})


def test_what_nobody_foresaw_is_not_explained_away() -> None:
    assert explain(KeyError("x")) is None


def test_a_port_in_use_is_one_line_and_status_1(command: Command, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = command("serve", "--port", port, "--model", "offline", "--database", f"sqlite:///{tmp_path / 'x.db'}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 or "Traceback" not in ended.stderr
    assert "error: " in ended.stderr


def test_a_setting_that_cannot_be_is_a_usage_error(command: Command) -> None:
    ended = command("serve", "--port", "99999")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "port" in ended.stderr
