"""The tests of channels run over every adapter; `scene` says how one is made, for each process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest
from tests.server.channels.memory import MemoryStore
from tests.server.channels.scene import ChannelScene
from tests.server.postgres import PostgresServer

from turnwise.server.channels.base import Channels
from turnwise.server.channels.local import LocalChannels
from turnwise.server.channels.ring import Bounds
from turnwise.server.storage.journal import ChannelStore, JournaledStorage
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.sqlite import SqliteStorage

NEVER = 1000.0


@pytest.fixture(params=["memory, polling", "sqlite, polling", "postgres, polling", "postgres, notices"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ChannelScene]:
    memory = MemoryStore()
    url = ""
    if "postgres" in request.param:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.emptied()
    async with AsyncExitStack() as stack:

        async def store() -> ChannelStore | JournaledStorage:
            if "memory" in request.param:
                return memory
            storage: JournaledStorage = PostgresStorage(url) if url else SqliteStorage(tmp_path / "turnwise.db")
            await storage.open()
            stack.push_async_callback(storage.close)
            return storage

        async def process(bounds: Bounds | None) -> Channels:
            storage = await store()
            if "notices" in request.param:
                notices = cast("JournaledStorage", storage).notices
                channels = LocalChannels(storage, notices=notices, bounds=bounds, interval=NEVER, rarely=NEVER)
            else:
                channels = LocalChannels(storage, bounds=bounds, interval=0.02)
            await channels.open()
            stack.push_async_callback(channels.close)
            return channels

        yield ChannelScene(await store(), await process(None), process)
