"""How tests tell a machine that stood still from a server that is slow."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.stalls import Stalls

STOPPED = """
import os, signal, subprocess, time
from tests.stalls import Stalls

with Stalls() as stalls:
    time.sleep(0.2)
    subprocess.Popen(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 1; kill -CONT {os.getpid()}"])
    time.sleep(2)
    print(stalls.seconds)
"""


def test_a_process_that_was_stopped_knows_for_how_long(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=True, cwd=root)
    assert float(done.stdout) > 0.5


def test_waiting_is_no_stall() -> None:
    before = time.monotonic()
    with Stalls() as stalls:
        time.sleep(0.6)
    assert stalls.seconds < max(0.3, time.monotonic() - before - 0.6)
