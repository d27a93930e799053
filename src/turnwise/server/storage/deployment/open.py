"""A deployment from a database URL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from turnwise.server.storage.deployment.database import Deployment
from turnwise.server.storage.open import file_of

__all__ = ["deployment_at"]


@asynccontextmanager
async def deployment_at(url: str, *, absent: bool = False) -> AsyncGenerator[Deployment]:
    """Open the database that `url` names, whatever it holds; `absent` allows for a file that is yet to be made.

    Raises `Unavailable` where it cannot be opened, `ValueError` for a URL that names none.
    """
    path = file_of(url)
    deployment: Deployment
    if path is not None:
        from turnwise.server.storage.deployment.sqlite import SqliteDeployment

        deployment = await SqliteDeployment.open(path, absent=absent)
    else:
        from turnwise.server.storage.deployment.postgres import PostgresDeployment

        deployment = await PostgresDeployment.open(url)
    try:
        yield deployment
    finally:
        await deployment.close()
