from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cluster.repeats import CUTS, REPEATS
from tests.cluster.suites import PYTEST, ROOT

SUITE = """
import json, os, time
from pathlib import Path
import pytest
from turnwise import ConflictError, StreamInterrupted

def fail(error, tries=1):
    count = Path(__file__).with_suffix(".count")
    done = int(count.read_text()) if count.exists() else 0
    count.write_text(str(done + 1))
    if done < tries:
        raise error

def cut(answered=5):
    with open(os.environ["TURNWISE_TEST_CUTS"], "a") as file:
        told = {"at": time.time(), "path": "/x", "status": 200, "answered": answered}
        file.write(json.dumps(told) + chr(10))

CUT, WRONG = StreamInterrupted("cut", text=""), AssertionError("wrong")
"""


@pytest.mark.parametrize(
    "test,passes,repeated",
    [
        pytest.param("def test(): cut(); fail(CUT)", True, 1, id="cut"),
        pytest.param("def test(): cut(); fail(CUT, tries=2)", True, 2, id="cut twice"),
        pytest.param("def test(): cut(); fail(CUT, tries=3)", False, 2, id="cut again and again"),
        pytest.param("def test(): fail(CUT)", False, 0, id="interrupted, and nothing was cut"),
        pytest.param("def test(): cut(); fail(WRONG)", False, 0, id="a wrong answer"),
        pytest.param("@pytest.mark.holds_a_stream\ndef test(): cut(); fail(WRONG)", True, 1, id="its premise was cut"),
        pytest.param("@pytest.mark.holds_a_stream\ndef test(): cut(0); fail(WRONG)", False, 0, id="another was cut"),
        pytest.param("def test(): cut(); fail(CUT, tries=0)", True, 0, id="cut and survived"),
        pytest.param(
            "@pytest.mark.forgives_stalls\ndef test(): cut(); fail(CUT)", True, 1, id="cut, one of the others"
        ),
    ],
)
def test_only_what_was_cut_is_done_again(tmp_path: Path, test: str, passes: bool, repeated: int) -> None:
    suite, cuts, repeats = tmp_path / "test_suite.py", tmp_path / "cuts", tmp_path / "repeats"
    suite.write_text(f"{SUITE}\n{test}\n")
    (tmp_path / "conftest.py").write_text("from tests.forgiving import pytest_configure, pytest_runtest_protocol\n")
    earlier = {"at": time.time() - 60, "path": "/x", "status": 200, "answered": 5}
    cuts.write_text(json.dumps(earlier) + "\n")
    repeats.touch()
    done = subprocess.run(
        [sys.executable, *PYTEST, "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, suite],
        cwd=ROOT,
        env={**os.environ, CUTS: str(cuts), REPEATS: str(repeats)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode == 0) is passes, done.stdout + done.stderr
    assert len(repeats.read_text().splitlines()) == repeated
