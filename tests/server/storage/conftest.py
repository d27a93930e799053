"""Storage's tests run over every adapter; each test has a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.server.pgbouncer import Pooler
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import Adapter, PostgresAdapter, Scene, SqliteAdapter, StillClock

from turnwise.server.storage import postgres_pool, postgres_writer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The contract suites run through PgBouncer too."""
    if "adapter" in metafunc.fixturenames:
        pooled = ["pgbouncer"] if metafunc.definition.path.name.startswith("test_contract") else []
        metafunc.parametrize("adapter", ["sqlite", "postgres", *pooled], indirect=True)


@pytest.fixture
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    if request.param == "sqlite":
        return SqliteAdapter(tmp_path / "folder" / "turnwise.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.emptied()
    if request.param == "postgres":
        return PostgresAdapter(url)
    pooler: Pooler = request.getfixturevalue("pooler")
    return PostgresAdapter(url, pooler.url(url))


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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let storages wait for PostgreSQL for as long as this machine takes to start it, in place of three seconds."""
    for module in (postgres_pool, postgres_writer):
        monkeypatch.setattr(module, "PATIENCE", 60.0)
