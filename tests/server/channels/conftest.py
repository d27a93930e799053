"""The tests of channels run over every adapter; `scene` says how one is made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.server.channels.memory import MemoryStore
from tests.server.channels.scene import ChannelScene

from turnwise.server.channels.local import LocalChannels
from turnwise.server.storage.sqlite import SqliteStorage


@pytest.fixture(params=["local over memory", "local over sqlite"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ChannelScene]:
    storage = SqliteStorage(tmp_path / "turnwise.db") if "sqlite" in request.param else None
    if storage is not None:
        await storage.open()
    store = storage or MemoryStore()
    scene = ChannelScene(store, lambda bounds: LocalChannels(store, bounds=bounds, interval=0.02))
    await scene.begin()
    yield scene
    await scene.end()
    if storage is not None:
        await storage.close()
