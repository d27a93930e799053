"""What a failed test shows of its servers' logs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.logged import MOST_LINES, logged_in

LOG = """\
2026-01-02T03:04:05.001Z info POST /v1/conversation/list status=200
2026-01-02T03:04:05.002Z warning a turn goes on that another process began turn=0123456789abcdef
2026-01-02T03:04:06.003Z warning a turn goes on that another process began turn=fedcba9876543210
2026-01-02T03:04:07.004Z error a turn failed
Traceback (most recent call last):
  File "engine.py", line 1, in run
KeyError: 'postgresql://me:hidden@host/db'
2026-01-02T03:04:08.005Z info the end
"""


def test_warnings_are_counted_and_tracebacks_kept_and_requests_and_secrets_left_out(tmp_path: Path) -> None:
    (tmp_path / "server-1.log").write_text(LOG)
    (tmp_path / "quiet.log").write_text("2026-01-02T03:04:08.005Z info nothing\n")
    assert logged_in(tmp_path).splitlines() == [
        "server-1.log:",
        "03:04:05.002-03:04:06.003 2 x warning a turn goes on that another process began turn=0123456789abcdef",
        "03:04:07.004 error a turn failed",
        "Traceback (most recent call last):",
        '  File "engine.py", line 1, in run',
        "KeyError: 'postgresql://...@host/db'",
    ]


def test_a_log_of_json_reads_the_same(tmp_path: Path) -> None:
    line = '{"time":"2026-01-02T03:04:05.002Z","level":"error","logger":"l","message":"it failed","trace":"a\\nb"}'
    (tmp_path / "workers.log").write_text(f"{line}\n")
    assert logged_in(tmp_path).splitlines() == ["workers.log:", "03:04:05.002 error it failed", "a", "b"]


def test_what_is_no_log_line_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("Traceback:\n  one\nMemoryError\n")
    assert logged_in(tmp_path).splitlines() == ["server.log:", "Traceback:", "  one", "MemoryError"]


def test_no_more_than_the_last_lines_are_shown(tmp_path: Path) -> None:
    lines = [f"2026-01-02T03:04:05.002Z warning {'x' * number}\n" for number in range(1, 500)]
    (tmp_path / "server.log").write_text("".join(lines))
    shown = logged_in(tmp_path).splitlines()
    assert shown[0] == f"(the last {MOST_LINES} of 500 lines)"
    assert len(shown) == MOST_LINES + 1


def test_a_test_that_fails_shows_them_and_one_that_passes_does_not(tmp_path: Path, root: Path) -> None:
    (tmp_path / "conftest.py").write_text((root / "tests" / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('fails', [True, False])\n"
        "def test_it(tmp_path, fails):\n"
        "    (tmp_path / 'server.log').write_text(f'2026-01-02T03:04:05.002Z error it failed: {fails}')\n"
        "    assert not fails\n"
    )
    command = [sys.executable, "-m", "pytest", str(tmp_path), f"--rootdir={tmp_path}", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    section = done.stdout.partition("what the servers logged")[2]
    assert "server.log:\n03:04:05.002 error it failed: True" in section
    assert "it failed: False" not in done.stdout
