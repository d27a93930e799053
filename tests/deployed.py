"""Where suites find the server they test: one of their own, or one that runs already.

A suite asks for `serving(...)`. By itself that is a server inside the test process. With TURNWISE_TEST_URL,
TURNWISE_TEST_SECRET and TURNWISE_TEST_DATABASE in the environment it is the deployment that they name: then the same
tests try that, such as three processes behind a load balancer of which one is always being killed (tests/cluster).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from turnwise.server.embed import EmbeddedServer, embedded
from turnwise.server.ids import new_id, now
from turnwise.server.models.registry import ModelRegistry
from turnwise.server.services.account import AccountService
from turnwise.server.settings import Settings
from turnwise.server.storage.open import storage_at

__all__ = ["DEPLOYED", "RETRIES", "Deployment", "account_of", "serving"]

URL, SECRET, DATABASE = "TURNWISE_TEST_URL", "TURNWISE_TEST_SECRET", "TURNWISE_TEST_DATABASE"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server that runs already, whose models play the parts of `tests.cluster.cast`."""

    url: str
    secret: str = field(repr=False)
    database: str

    def environ(self) -> dict[str, str]:
        """Return the environment in which suites try it."""
        return {URL: self.url, SECRET: self.secret, DATABASE: self.database}


DEPLOYED = Deployment(os.environ[URL], os.environ[SECRET], os.environ[DATABASE]) if URL in os.environ else None

RETRIES = 0 if DEPLOYED is None else 3
"""How often clients try again: not at all where nothing is expected to fail, else as they do by default."""


@contextlib.contextmanager
def serving(settings: Settings, models: ModelRegistry | None = None) -> Generator[EmbeddedServer]:
    """Yield the deployment, or a server of these settings and models."""
    if DEPLOYED is not None:
        yield EmbeddedServer(DEPLOYED.url, DEPLOYED.secret, "m")
    else:
        with pytest.MonkeyPatch.context() as patch:
            # Nothing dies here: on a machine that stands still for seconds no turn is lost either.
            patch.setattr("turnwise.server.services.lease.LEASE_MS", 60_000)
            with embedded(settings=settings, models=models) as server:
                yield server


def account_of(database_url: str, name: str) -> str:
    """Return a new secret of an account, which is made if it is not there."""

    async def make() -> str:
        storage = storage_at(database_url)
        await storage.open()
        try:
            return (await AccountService(storage, new_id=new_id, clock=now).create_secret(name)).secret
        finally:
            await storage.close()

    return asyncio.run(make())
