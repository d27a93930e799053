"""Runs a script of the official Node client against a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cluster.repeats import LIMIT, cuts_since, note
from tests.deployed import DEPLOYED, RETRIES, account_of

from turnwise.server.embed import EmbeddedServer
from turnwise.server.ids import new_id

__all__ = ["CUT", "drive"]

HERE: Final = Path(__file__).parent
UPSTREAM: Final = "TURNWISE_TEST_UPSTREAM"

CUT: Final = frozenset({"terminated", "fetch failed", "The server went away."})
"""What Node, and the balancer of tests/cluster, say of a connection that broke."""


def drive(script: str, server: EmbeddedServer, *, survived: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    """Return what a script tells.

    Where it tries a deployment whose servers die, it has an account of its own each time, and is run again, twice at
    most, if a stream broke that is not to survive that, or `survived` denies that what it told is undisturbed.
    """
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the Node client cannot be driven")
    if not (HERE / "node_modules/@chatbotkit/sdk").exists():
        pytest.skip("the Node client is not installed: run `make node`")
    if DEPLOYED is None:
        done = _run(script, server.url, server.secret)
        assert done.returncode == 0, done.stderr
        return _read(done)
    for _ in range(LIMIT):
        _asked()  # what was asked on behalf of a script that was cut is not this one's
        began = time.time()
        done = _run(script, server.url, account_of(DEPLOYED.database, new_id()))
        told = {**_read(done), "requests": _asked()} if done.returncode == 0 else {}
        if done.returncode == 0 and survived(told):
            return told
        cuts = cuts_since(began)
        assert cuts, done.stderr
        assert done.returncode == 0 or any(word in done.stderr for word in CUT), done.stderr
        note(script, f"{done.stderr[-200:]}; cut: {', '.join(cut['path'] for cut in cuts)}")
    _asked()
    done = _run(script, server.url, account_of(DEPLOYED.database, new_id()))
    assert done.returncode == 0, done.stderr
    return {**_read(done), "requests": _asked()}


def _run(script: str, url: str, secret: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", HERE / script],
        env={**os.environ, "BASE_URL": url, "SECRET": secret, "RETRIES": str(RETRIES)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _read(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _asked() -> list[dict[str, object]]:
    """Return what the model was asked since the last time."""
    with urllib.request.urlopen(f"{os.environ[UPSTREAM]}/asked", timeout=10) as answer:  # noqa: S310 - our own
        asked: list[dict[str, object]] = json.load(answer)
        return asked
