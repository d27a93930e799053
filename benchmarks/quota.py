"""Processes that are held to a part of a core each, by Linux's control groups, where those may be changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.processes import Process

__all__ = ["held"]

PERIOD_US: Final = 10_000
FIRST: Final = Path("/sys/fs/cgroup/cpu")
"""Where the first version has the groups that share cores."""
SECOND: Final = Path("/sys/fs/cgroup")


@contextmanager
def held(processes: Sequence[Process], share: float) -> Generator[bool]:
    """Hold each of them to so much of a core; `False`, and nobody is held, where the system does not let us."""
    quota = int(PERIOD_US * share)
    groups: list[Path] = []
    try:
        for process in processes:
            groups.append(_made(f"turnwise-benchmark-{os.getpid()}-{process.pid}", quota))
            (groups[-1] / "cgroup.procs").write_text(str(process.pid))
    except OSError:
        _let_go(groups)
        yield False
        return
    try:
        yield True
    finally:
        _let_go(groups)


def _made(name: str, quota: int) -> Path:
    if (FIRST / "cpu.cfs_quota_us").exists():
        group = FIRST / name
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (SECOND / "cgroup.subtree_control").write_text("+cpu")
        group = SECOND / name
        group.mkdir()
        (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
    return group


def _let_go(groups: Sequence[Path]) -> None:
    """Give the groups' processes back, and remove them."""
    for group in groups:
        with contextlib.suppress(OSError):  # a process that has ended meanwhile
            for pid in (group / "cgroup.procs").read_text().split():
                (group.parent / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            group.rmdir()
