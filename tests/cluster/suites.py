"""Runs suites against a cluster, round after round, while its processes are killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.members import Cluster, Killer
from tests.cluster.repeats import CUTS, REPEATS

__all__ = ["ROOT", "Rounds"]

ROOT: Final = Path(__file__).resolve().parents[2]
PYTEST: Final = ("-m", "pytest", "-p", "tests.cluster.repeats", "-p", "no:cacheprovider", "-q", "-x", "--no-header")


@dataclass
class Rounds:
    """What rounds of a suite came to."""

    cluster: Cluster
    name: str
    suite: Sequence[str]
    rounds: int = 0
    passed: int = 0
    """Tests, over all rounds."""
    seconds: float = 0.0
    repeated: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """The tests that were done again, and why."""

    async def until(self, killer: Killer, kills: int) -> None:
        """Do whole rounds until so many processes were killed; fails with the first round that fails."""
        began = time.monotonic()
        while killer.count < kills:
            await self._round()
        self.seconds = time.monotonic() - began

    def __str__(self) -> str:
        return f"{self.name}: {self.rounds} rounds, {self.passed} tests, {len(self.repeated)} done again"

    async def _round(self) -> None:
        repeats = self.cluster.folder / f"repeats-{self.name}-{self.rounds}.jsonl"
        repeats.touch()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *PYTEST,
            *self.suite,
            cwd=ROOT,
            env={
                **os.environ,
                **self.cluster.deployment.environ(),
                "TURNWISE_TEST_UPSTREAM": self.cluster.upstream.base_url,
                CUTS: str(self.cluster.folder / "cuts.jsonl"),
                REPEATS: str(repeats),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        told = output.decode()
        self.repeated += [json.loads(line) for line in repeats.read_text().splitlines()]
        assert process.returncode == 0, f"{told[-12_000:]}\nrepeated: {self.repeated}\n{self.cluster.logged[-4000:]}"
        found = re.search(r"(\d+) passed", told)
        assert found is not None, told
        assert " skipped" not in told, told
        self.rounds += 1
        self.passed += int(found.group(1))
