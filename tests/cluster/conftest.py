from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.server.postgres import PostgresServer, own_server

pytest.register_assert_rewrite("tests.cluster.aftermath", "tests.cluster.ledger")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this run's own."""
    with own_server() as server:
        yield server
