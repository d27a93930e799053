"""Tests that a machine which stands still fails whatever they check: marked `forgives_stalls`, they are run again then.

A lease lapses in a stall, a grace is over, a deadline passed. What a marked test failed of in the first place is told
at the end of the run all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from _pytest.runner import runtestprotocol
from tests.stalls import Stalls

__all__ = ["pytest_configure", "pytest_runtest_protocol", "pytest_terminal_summary", "run"]

TRIES: Final = 3
LONG: Final = 0.3
"""Seconds that a machine must have stood still for a failure to be forgiven."""

FORGIVEN: Final = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note what was forgiven."""
    config.stash[FORGIVEN] = []


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a marked test, again where it failed in a stall."""
    if item.get_closest_marker("forgives_stalls") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = run(item, nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def run(item: pytest.Item, nextitem: pytest.Item | None) -> Sequence[pytest.TestReport]:
    """Run a test; return what is to be reported of it, of its last run where it is marked and was run again."""
    if item.get_closest_marker("forgives_stalls") is None:
        return runtestprotocol(item, log=False, nextitem=nextitem)
    tries = 0
    while True:
        tries += 1
        with Stalls() as stalls:
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            stood_still = stalls.seconds
        failed = [report for report in reports if report.failed]
        if not failed or tries == TRIES or stood_still < LONG:
            return reports
        told = (
            f"{item.nodeid}: run again, for the machine stood still for {stood_still:.1f} s\n{failed[0].longreprtext}"
        )
        item.config.stash[FORGIVEN].append(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what was forgiven."""
    for told in config.stash[FORGIVEN]:
        terminalreporter.section("forgiven")
        terminalreporter.write_line(told)
