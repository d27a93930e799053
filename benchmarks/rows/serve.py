"""What `turnwise serve` takes before it is asked for anything: memory, and the time until it listens."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.options import Options
from benchmarks.report import AtMost, Figure, Line
from benchmarks.turnwise_server import TurnwiseServer

STARTS = 7
SETTLED = 2.0


def measure(_: Options) -> list[Line]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, _memory = _start(folder, settle=0)
        later = [_start(folder, settle=SETTLED if number == 0 else 0) for number in range(STARTS)]
    starts, memory = median(taken for taken, _ in later), later[0][1]
    return [
        Figure(row="turnwise serve: idle memory", ours=f"{memory:.0f} MB", value=memory, unit="MB", bound=AtMost(80)),
        Figure(
            row="turnwise serve: from start to listening",
            ours=f"{starts:.2f} s",
            other=f"slowest of {STARTS}: {max(taken for taken, _ in later):.2f} s",
            value=starts,
            unit="s",
            bound=AtMost(1.0),
        ),
        Figure(
            row="turnwise serve: the same, the very first start",
            ours=f"{first:.2f} s",
            value=first,
            unit="s",
            bound=AtMost(1.3),
        ),
    ]


def _start(folder: Path, *, settle: float) -> tuple[float, float]:
    """Start it once; return the seconds until it listened and the megabytes it then held."""
    with TurnwiseServer(folder).listening() as server:
        time.sleep(settle)
        return server.seconds_to_listen, server.memory_megabytes()
