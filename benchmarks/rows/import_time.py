"""`import turnwise` against what it cannot do without, and against a client of the same kind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec

from benchmarks.measure import alternate
from benchmarks.options import Options
from benchmarks.report import AtLeast, AtMost, Figure, Skipped

ROUNDS = 15
"""Imports are short, and the first rounds of a busy machine say little."""
FIRST_USE = "import turnwise; turnwise.ConversationClient(secret='benchmark')"
"""What `import turnwise` puts off until somebody needs it; the HTTP library comes with the first request."""


def measure(_: Options) -> list[Figure | Skipped]:
    peer = find_spec("openai") is not None
    statements = {"turnwise": "import turnwise", "msgspec": "import msgspec", "client": FIRST_USE}
    if peer:
        statements["openai"] = "import openai"
    samples = alternate({name: _run(code) for name, code in statements.items()}, rounds=ROUNDS, at_most=60)
    ours = f"{samples.median('turnwise') * 1000:.1f} ms"
    lines: list[Figure | Skipped] = [
        Figure(
            row="import turnwise / import msgspec",
            ours=ours,
            other=f"msgspec {samples.median('msgspec') * 1000:.1f} ms",
            value=samples.ratio("turnwise", "msgspec"),
            bound=AtMost(1.3),
        ),
        Figure(
            row="import and make a client / import msgspec",
            ours=f"{samples.median('client') * 1000:.1f} ms",
            other=f"msgspec {samples.median('msgspec') * 1000:.1f} ms",
            value=samples.ratio("client", "msgspec"),
        ),
    ]
    if peer:
        lines.append(
            Figure(
                row="import openai / import turnwise",
                ours=ours,
                other=f"openai {samples.median('openai') * 1000:.0f} ms",
                value=samples.ratio("openai", "turnwise"),
                bound=AtLeast(8),
            )
        )
    else:
        lines.append(
            Skipped("import openai / import turnwise", "the openai package is not installed (make bench has it)")
        )
    return lines


def _run(statement: str) -> Callable[[], float]:
    """CPU seconds of one statement in a new interpreter, whose own start is not counted."""
    code = f"import time\nbegin = time.process_time()\n{statement}\nprint(time.process_time() - begin)"

    def once() -> float:
        # Elsewhere than in the repository, so that nothing there shadows what is imported.
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=tempfile.gettempdir()
        )
        return float(done.stdout)

    return once
