"""A plugin for suites that are run while servers die: repeats a test whose connection was cut, and only that.

A few operations are not to survive their server's death (docs/explanation/what-survives.md): a stream that belongs to
whoever reads it breaks off with its process. A test of one is done again, twice at most, if it failed with the error
that tells of a cut connection and the balancer cut an exchange while it ran. A wrong answer is never excused.

Tests that hold a stream open to see what others get meanwhile (`holds_a_stream`) are done again also where it was that
stream that was cut: then what they ask was not the case.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import pytest
from tests.forgiving import run

from turnwise import BadGatewayError, ConnectionFailedError, StreamInterrupted

__all__ = ["CUTS", "LIMIT", "REPEATS", "cuts_since", "note"]

CUTS, REPEATS = "TURNWISE_TEST_CUTS", "TURNWISE_TEST_REPEATS"
LIMIT: Final = 2
"""How often a test is done again."""

BROKEN: Final = (BadGatewayError, ConnectionFailedError, StreamInterrupted)


def cuts_since(moment: float) -> list[dict[str, Any]]:
    """Return the exchanges that the balancer has cut since then."""
    lines = Path(os.environ[CUTS]).read_text().splitlines()
    return [cut for cut in map(json.loads, lines) if cut["at"] >= moment]


def note(name: str, reason: str) -> None:
    """Note that something is done again."""
    with Path(os.environ[REPEATS]).open("a") as file:
        file.write(json.dumps({"name": name, "reason": reason}) + "\n")


@pytest.hookimpl(tryfirst=True)  # before the one of tests/forgiving.py, whose part is done here too
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Do a test, and again where it was cut."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = _done(item, nextitem, LIMIT)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _done(item: pytest.Item, nextitem: pytest.Item | None, repeats: int) -> Sequence[pytest.TestReport]:
    began = time.time()
    reports = run(item, nextitem)
    reason = _excuse(item, reports, began)
    if reason is None or not repeats:
        return reports
    note(item.nodeid, reason)
    return _done(item, nextitem, repeats - 1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Keep what a test failed with."""
    report: Any = yield
    report.problem = call.excinfo.value if call.excinfo is not None else None
    return report


def _excuse(item: pytest.Item, reports: Sequence[pytest.TestReport], began: float) -> str | None:
    """Return why a failed test may be done again, if it may."""
    problems = [cast("Any", report).problem for report in reports if report.failed]
    cuts = cuts_since(began) if problems else []
    if len(problems) != 1 or not cuts:
        return None
    what = f"{type(problems[0]).__name__}: {problems[0]}"
    paths = [f"{cut['path']} ({cut['status']}, {cut['answered']} bytes)" for cut in cuts]
    held = item.get_closest_marker("holds_a_stream") is not None and any(cut["answered"] for cut in cuts)
    return f"{what}; cut: {', '.join(paths)}" if isinstance(problems[0], BROKEN) or held else None
