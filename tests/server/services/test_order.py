from __future__ import annotations

import asyncio

import pytest

from turnwise.server.errors import Conflict
from turnwise.server.services.order import TurnOrder


async def test_turns_of_one_conversation_run_in_the_order_they_came() -> None:
    order, seen = TurnOrder(), list[int]()

    async def turn(number: int) -> None:
        async with order.turn_in("account", "conversation", wait=5):
            seen.append(number)
            await asyncio.sleep(0)
            seen.append(number)

    await asyncio.gather(*(turn(number) for number in range(5)))
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_conversations_do_not_wait_for_each_other() -> None:
    order = TurnOrder()
    async with order.turn_in("account", "one", wait=5), order.turn_in("account", "two", wait=0.01):
        pass
    async with order.turn_in("account", "one", wait=5), order.turn_in("other", "one", wait=0.01):
        pass


async def test_a_turn_that_waits_too_long_is_refused_and_leaves_no_trace() -> None:
    order = TurnOrder()
    async with order.turn_in("account", "conversation", wait=5):
        with pytest.raises(Conflict, match=r"still running after 0\.01 seconds"):
            async with order.turn_in("account", "conversation", wait=0.01):
                pytest.fail("got the conversation while another turn held it")
    async with order.turn_in("account", "conversation", wait=0.01):
        pass
    assert order._queues == {}


async def test_a_cancelled_waiter_does_not_hold_up_those_behind_it() -> None:
    order = TurnOrder()
    got = asyncio.Event()

    async def wait() -> None:
        async with order.turn_in("account", "conversation", wait=5):
            got.set()

    async with order.turn_in("account", "conversation", wait=5):
        first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        first.cancel()
    await asyncio.wait_for(second, 1)
    assert got.is_set()
    assert order._queues == {}
