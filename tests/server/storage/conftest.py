"""Storage's tests run over every adapter; each test has a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import Adapter, PostgresAdapter, Scene, SqliteAdapter, StillClock


@pytest.fixture(params=["sqlite", "postgres"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    if request.param == "sqlite":
        return SqliteAdapter(tmp_path / "folder" / "turnwise.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return PostgresAdapter(server.emptied())


@pytest.fixture
async def scene(adapter: Adapter) -> AsyncIterator[Scene]:
    clock = StillClock()
    storage = adapter.storage(clock)
    await storage.open()
    try:
        scene = Scene(storage, adapter, clock)
        await scene.begin()
        yield scene
    finally:
        await storage.close()
