"""How tests tell a machine that stood still from a server that is slow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.stalls import Stalls

STOPPED = """
import os, signal, subprocess, time
from tests.stalls import Stalls

with Stalls() as stalls:
    time.sleep(0.2)
    subprocess.run(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 1; kill -CONT {os.getpid()}"], check=True)
    time.sleep(0.5)
    print(stalls.seconds)
"""


def test_a_process_that_was_stopped_knows_for_how_long(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True, check=True, cwd=root)
    assert float(done.stdout) > 0.5


async def test_a_bound_that_is_exceeded_is_told() -> None:
    with Stalls() as stalls, pytest.raises(TimeoutError):
        async with asyncio.timeout(30), stalls.within(0.2):
            await asyncio.sleep(60)


async def test_a_bound_is_extended_by_a_stall() -> None:
    with Stalls() as stalls:
        async with stalls.within(0.3):
            stalls.seconds += 2
            await asyncio.sleep(1)


async def test_what_a_stall_disturbed_is_done_again() -> None:
    lost = [1.0, 2.0]

    async def work() -> int:
        calls.append(len(lost))
        if lost:
            stalls.seconds += lost.pop()
        return len(lost)

    calls: list[int] = []

    with Stalls() as stalls:
        assert await stalls.undisturbed(work) == 0
        assert stalls.seconds >= 3
    assert calls[:3] == [2, 1, 0]


async def test_a_failure_is_forgiven_that_came_with_a_stall_and_no_other() -> None:
    lost = [0.0, 2.0]

    async def fail() -> None:
        failures.append(lost[-1])
        stalls.seconds += lost.pop() if len(lost) > 1 else lost[0]
        raise LookupError

    failures: list[float] = []
    with Stalls() as stalls, pytest.raises(LookupError):
        await stalls.forgiven(fail)
    assert failures[:2] == [2.0, 0.0]


def test_waiting_is_no_stall() -> None:
    before = time.monotonic()
    with Stalls() as stalls:
        time.sleep(0.6)
    assert stalls.seconds < max(0.3, time.monotonic() - before - 0.6)
