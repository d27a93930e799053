"""A marked test that fails in a stall is run again; no other is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import os, subprocess, time
from pathlib import Path
import pytest

def times(folder):
    with (folder / "times").open("a") as file:
        file.write("x")
    return len((folder / "times").read_text())

@pytest.fixture
def folder(request):
    folder = Path(__file__).parent / request.node.name
    folder.mkdir(exist_ok=True)
    return folder

def stall():
    subprocess.run(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 2; kill -CONT {os.getpid()}"], check=True)
    time.sleep(0.5)

@pytest.mark.forgives_stalls
def test_stalled(folder):
    if times(folder) == 1:
        stall()
        pytest.fail("the first time")

@pytest.mark.forgives_stalls
def test_wrong(folder):
    assert times(folder) > 1, "wrong"

def test_unmarked(folder):
    if times(folder) == 1:
        stall()
        pytest.fail("unmarked")
"""


def test_a_marked_test_that_fails_in_a_stall_is_run_again_and_that_is_told(tmp_path: Path, root: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.forgiving"]\n')
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = forgives_stalls\n")
    command = [sys.executable, "-m", "pytest", str(tmp_path), "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_stalled: run again, for the machine stood still" in done.stdout
    assert "the first time" in done.stdout
    assert "test_wrong: run again" not in done.stdout
