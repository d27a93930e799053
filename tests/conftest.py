from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.forgiving import pytest_configure, pytest_runtest_protocol, pytest_terminal_summary
from tests.logged import logged_in
from tests.stalls import Stalls

__all__ = ["pytest_configure", "pytest_runtest_protocol", "pytest_terminal_summary"]

ROOT = Path(__file__).resolve().parents[1]

# A suite that was started in the background ignores Ctrl-C, and so would every process that its tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis asserts by itself that an example takes 200 ms at most, and that examples are made quickly: that says
# something of the machine and nothing of what is tested. All else is as it was: in CI, the same examples every time.
settings.register_profile(
    "at any speed",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, *settings().suppress_health_check],
)
settings.load_profile("at any speed")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture
def stalls() -> Generator[Stalls]:
    """How long the machine has stood still since the test began."""
    with Stalls() as stalls:
        yield stalls


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what servers of a failed test logged, where they are processes of their own."""
    report = yield
    folder: object = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and isinstance(folder, Path) and (logged := logged_in(folder)):
        report.sections.append(("what the servers logged", logged))
    return report
