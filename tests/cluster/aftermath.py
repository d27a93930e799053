"""What must hold once nobody is killed any more."""

from __future__ import annotations

import asyncio
import time

from tests.cluster.ledger import Ledger, Stored
from tests.cluster.members import Cluster

from turnwise import AsyncTurnwise

__all__ = ["check", "settled"]


async def check(running: Cluster) -> None:
    """Assert that all that was acknowledged is there once, and that every conversation takes its next turn."""
    assert [each.cut() for each in running.balancer.strange] == []
    ledger = Ledger.of(running.balancer.exchanges)
    assert ledger.conversations
    assert ledger.messages
    stored = await settled(running.database)
    ledger.check(stored)
    async with AsyncTurnwise(secret=running.deployment.secret, base_url=running.balancer.url) as client:

        async def goes_on(conversation_id: str) -> None:
            await client.conversation.update(conversation_id, model="echo")
            answer = await client.conversation.complete(conversation_id, text="Go on.", timeout=20)
            assert answer.text == "You said: Go on."

        async with asyncio.TaskGroup() as group:
            async for each in client.conversation.list():
                group.create_task(goes_on(each.id))


async def settled(database: str) -> Stored:
    """Return what is stored once no turn runs; half a minute is more than a dead process's lease."""
    end = time.monotonic() + 30
    while (stored := await Stored.of(database)).unfinished and time.monotonic() < end:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.2)
    return stored
