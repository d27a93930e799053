"""A program whose functions are called goes on when the server is killed meanwhile, and calls each once."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.crash.process import SECRET
from tests.crash.scene import scene

from turnwise import AsyncTurnwise, CompleteResult, Turnwise
from turnwise.tools import Tool, tool

pytestmark = [pytest.mark.slow, pytest.mark.forgives_stalls]


class Scales:
    """What is called; it weighs as long as it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def weigh(self, number: int) -> dict[str, int]:
        """Weigh it."""
        self.calls.append("weigh")
        self.begun.set()
        assert self.may_end.wait(60)
        return {"kilograms": number}

    async def price(self, number: int) -> dict[str, int]:
        """Price it."""
        self.calls.append("price")
        return {"euro": number}

    @property
    def tools(self) -> list[Tool[..., object]]:
        return [tool(self.weigh), tool(self.price)]


async def run(url: str, conversation: str, said: str, scales: Scales) -> CompleteResult:
    async with AsyncTurnwise(secret=SECRET, base_url=url) as client:
        return await client.conversation.run(conversation, text=said, tools=scales.tools, resumable=True)


def run_blocking(url: str, conversation: str, said: str, scales: Scales) -> CompleteResult:
    with Turnwise(secret=SECRET, base_url=url) as client:
        return client.conversation.run(conversation, text=said, tools=scales.tools, resumable=True)


@pytest.mark.parametrize("ends_while_the_server_is_away", [True, False])
@pytest.mark.parametrize("blocking", [False, True])
async def test_a_run_survives_that_its_server_is_killed_while_a_function_is_called(
    tmp_path: Path, blocking: bool, ends_while_the_server_is_away: bool
) -> None:
    scales = Scales()
    async with scene(tmp_path) as stage:
        stage.lead_to(first := await stage.serve())
        (task,) = await stage.tasks(1)
        asked = stage.proxy.url, task.conversation_id, task.said, scales
        running = asyncio.create_task(asyncio.to_thread(run_blocking, *asked) if blocking else run(*asked))
        assert await asyncio.to_thread(scales.begun.wait, 60)
        await asyncio.sleep(0.3)  # the other function's result arrives
        first.kill()
        if ends_while_the_server_is_away:
            scales.may_end.set()
            await asyncio.sleep(3)  # longer than sending its result is tried
        stage.lead_to(await stage.serve())
        await stage.settled([task])
        scales.may_end.set()
        async with stage.stalls.within(30):
            result = await running
        assert result.text == task.answer
        assert sorted(scales.calls) == ["price", "weigh"]
        assert (await stage.stored([task]))[0] == [("user", task.said), *task.reply]
        turn = await stage.client.conversation.turn(task.conversation_id)
        assert (turn.state, turn.attempt) == ("done", 2)
