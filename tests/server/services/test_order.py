from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest
from tests.server.services.stage import until

from turnwise.server.errors import Unavailable
from turnwise.server.services import order as module
from turnwise.server.services.order import TurnOrder


class Line:
    """A journal that knows who is at the front."""

    def __init__(self) -> None:
        self.front: set[str] = set()
        self.asked: list[set[str]] = []
        self.failures = 0

    async def first_of(self, turn_ids: Sequence[str]) -> Sequence[str]:
        self.asked.append(set(turn_ids))
        if self.failures:
            self.failures -= 1
            raise Unavailable("The database is away.")
        return [turn_id for turn_id in turn_ids if turn_id in self.front]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def order(line: Line) -> TurnOrder:
    return TurnOrder(line)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def test_a_turn_waits_until_it_is_at_the_front(line: Line, order: TurnOrder) -> None:
    waits = asyncio.create_task(order.first("one"))
    await asyncio.sleep(0.02)
    assert not waits.done()
    line.front = {"one"}
    async with asyncio.timeout(60):
        await waits


async def test_whoever_says_that_the_line_moved_need_not_wait_for_the_next_look(
    line: Line, order: TurnOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 60)
    waits = asyncio.create_task(order.first("one"))
    await until(lambda: line.asked)
    line.front = {"one"}
    order.look()
    async with asyncio.timeout(60):
        await waits


async def test_one_look_is_for_all_that_wait_and_none_is_made_for_nobody(line: Line, order: TurnOrder) -> None:
    waits = [asyncio.create_task(order.first(str(number))) for number in range(100)]
    await until(lambda: line.asked)
    assert len(line.asked[0]) == 100
    line.front = {str(number) for number in range(100)}
    async with asyncio.timeout(60):
        await asyncio.gather(*waits)
    await until(lambda: order._task is None)
    asked = len(line.asked)
    order.look()
    await asyncio.sleep(0.1)
    assert len(line.asked) == asked


async def test_a_turn_that_waits_no_more_is_not_asked_for(line: Line, order: TurnOrder) -> None:
    gone, stays = asyncio.create_task(order.first("gone")), asyncio.create_task(order.first("stays"))
    await until(lambda: {"gone", "stays"} in line.asked)
    gone.cancel()
    await until(lambda: line.asked[-1] == {"stays"})
    await order.close()
    stays.cancel()


async def test_a_look_that_fails_is_made_again(line: Line, order: TurnOrder, caplog: pytest.LogCaptureFixture) -> None:
    line.failures, line.front = 2, {"one"}
    with caplog.at_level(logging.WARNING, logger="turnwise.server"):
        async with asyncio.timeout(60):
            await order.first("one")
    assert len(caplog.records) == 2
