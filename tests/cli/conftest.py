from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from turnwise.cli.app import app
from turnwise.server.embed import EmbeddedServer, embedded

Cli = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[str]]

COMMAND = (sys.executable, "-m", "turnwise")


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the files of the person who runs the tests out of them, and their settings too."""
    for name in list(os.environ):
        if name.startswith(("TURNWISE_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TURNWISE_DISCOVER", "false")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A real server on a database of its own."""
    with embedded(database_url=f"sqlite:///{tmp_path / 'server.db'}", model="offline") as running:
        yield running


@pytest.fixture
def cli(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in this process, against the server."""
    monkeypatch.setenv("TURNWISE_BASE_URL", server.url)
    monkeypatch.setenv("TURNWISE_SECRET", server.secret)

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=input)

    return run


@pytest.fixture
def command() -> Command:
    """Run a command as a shell would, with pipes."""

    def run(*arguments: str, input: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            input=input,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )

    return run
