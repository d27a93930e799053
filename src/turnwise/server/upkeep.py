"""Removes what expired or was deleted from disk, a little at a time."""

from __future__ import annotations

import asyncio
import logging

from turnwise.server.errors import Unavailable
from turnwise.server.ids import Clock
from turnwise.server.storage.base import Storage

__all__ = ["purge_forever"]

logger = logging.getLogger("turnwise.server")


async def purge_forever(storage: Storage, *, clock: Clock, interval: float) -> None:
    """Purge now and every `interval` seconds, until cancelled."""
    while True:
        try:
            gone = 1
            while gone:
                gone = await storage.purge(now=clock())
        except Unavailable as error:
            logger.warning("expired data could not be removed from disk now; it is tried again: %s", error)
        except Exception:
            logger.exception("expired data could not be removed from disk; the next try is in %g seconds", interval)
        await asyncio.sleep(interval)
