"""`run` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

CODE = "from turnwise.server.serve import run; from turnwise.server.settings import load_settings; run(load_settings())"


@contextmanager
def serving(folder: Path, **environ: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """Start a server; give its URL and its process."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("TURNWISE_", "OPENAI_"))}
    settings = {
        "TURNWISE_DATABASE_URL": f"sqlite:///{folder / 'serve.db'}",
        "TURNWISE_PORT": "0",
        "TURNWISE_MODEL": "offline",
        **environ,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**bare, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().removeprefix("listening on "), process
    finally:
        process.kill()
        process.communicate()


def ask(url: str, secret: str, path: str = "/v1/conversation/list") -> int:
    request = urllib.request.Request(f"{url}{path}", headers={"Authorization": f"Bearer {secret}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            status: int = answer.status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    return status


def stop(process: subprocess.Popen[str], sent: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(sent)
    return process.communicate(timeout=60)


def test_the_first_start_prints_a_secret_once(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        out, err = stop(process)
        assert out == ""
        assert process.returncode == 0
    found = re.search(r"^    (tw_\S+)$", err, re.MULTILINE)
    assert found is not None
    secret = found[1]
    assert f"TURNWISE_SECRET={secret} turnwise chat --base-url {url}" in err
    with serving(tmp_path, TURNWISE_LOG_FORMAT="json") as (url, process):
        assert ask(url, secret) == 200
        assert ask(url, "tw_other") == 401
        _, err = stop(process, signal.SIGINT)
        assert process.returncode == 0
    assert "tw_" not in err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [200, 401]


def test_a_secret_of_the_environment_opens_the_default_account(tmp_path: Path) -> None:
    for _ in range(2):
        with serving(tmp_path, TURNWISE_SECRET="tw_from_the_environment", TURNWISE_LOG_LEVEL="warning") as (
            url,
            process,
        ):
            assert ask(url, "tw_from_the_environment") == 200
            _, err = stop(process)
            assert err == ""


@pytest.mark.forgives_stalls
def test_a_server_that_stops_tells_load_balancers_before_it_takes_no_more(tmp_path: Path) -> None:
    with serving(tmp_path, TURNWISE_SECRET="tw_from_the_environment", TURNWISE_DRAIN_DELAY="2") as (url, process):
        assert ask(url, "", "/readyz") == 200
        process.send_signal(signal.SIGTERM)
        while (status := ask(url, "", "/readyz")) == 200:
            time.sleep(0.01)
        assert status == 503
        assert ask(url, "tw_from_the_environment") == 200
        process.communicate(timeout=60)
        assert process.returncode == 0


@contextmanager
def inherited(action: signal.Handlers) -> Generator[None]:
    """Let processes that are started meanwhile begin with what SIGHUP does."""
    before = signal.signal(signal.SIGHUP, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_hangup_stops_a_single_process_in_good_order(tmp_path: Path) -> None:
    with inherited(signal.SIG_DFL), serving(tmp_path) as (_, process):
        stop(process, signal.SIGHUP)
        assert process.returncode == 0


def test_a_hangup_does_nothing_under_nohup(tmp_path: Path) -> None:
    with inherited(signal.SIG_IGN), serving(tmp_path) as (url, process):
        process.send_signal(signal.SIGHUP)
        assert ask(url, "", "/healthz") == 200
        stop(process)
        assert process.returncode == 0


def test_an_address_in_use_ends_the_start(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _), serving(tmp_path, TURNWISE_PORT=url.rpartition(":")[2]) as (nothing, second):
        assert nothing == ""
        _, err = second.communicate(timeout=60)
        assert "Address already in use. Choose another with --host and --port" in err
        assert second.returncode == 1


@pytest.mark.parametrize("name", ["aiohttp", "alembic", "sqlalchemy", "typer", "jwt", "openapi_spec_validator"])
def test_starting_does_not_import_what_may_never_be_needed(name: str) -> None:
    code = f"import sys, turnwise.server.serve; sys.exit({name!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
