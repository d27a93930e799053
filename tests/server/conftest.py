from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.server.asgi import Api, ScriptedModels
from tests.server.pgbouncer import Pooler, own_pooler
from tests.server.postgres import PostgresServer, own_server

from turnwise.server.app import Adapters, create_app
from turnwise.server.settings import Settings
from turnwise.server.storage.open import storage_at

SECRET = "tw_secret_of_the_tests"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this run's own."""
    with own_server() as server:
        yield server


@pytest.fixture(scope="session")
def pooler(postgres: PostgresServer) -> Iterator[Pooler]:
    """Return a PgBouncer in front of `postgres`."""
    with own_pooler(postgres) as pooler:
        yield pooler


@pytest.fixture
def settings() -> Settings:
    """The settings of `api`; a module that wants others has a fixture of this name."""
    return Settings(ping_interval=5, turn_timeout=5, grace=1)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of `api`'s database; a module that wants another one has a fixture of this name."""
    return f"sqlite:///{tmp_path / 'api.db'}"


@pytest.fixture
async def api(database: str, settings: Settings) -> AsyncGenerator[Api, None]:
    """The open application with a fresh database."""
    chosen = replace(settings, database_url=database)
    models = ScriptedModels()
    application = create_app(chosen, Adapters(storage=storage_at(chosen.database), models=models, guest_secret=SECRET))
    await application.open()
    yield Api(application, SECRET, models)
    await application.close()
