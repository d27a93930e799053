from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.server.services.stage import Stage, stage_at


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Stage, None]:
    """Processes over a database; they look at their leases often."""
    monkeypatch.setattr("turnwise.server.services.lease.RENEW_SECONDS", 0.02)
    opened = stage_at(tmp_path)
    yield opened
    await opened.close()
