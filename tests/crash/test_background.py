"""Work in the background: begun at once, once, and ended at once, here or by way of another process."""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.crash.process import SECRET
from tests.crash.scene import CALM, Scene, scene
from tests.crash.task import Task
from tests.crash.worker import Pace

from turnwise import AsyncTurnwise, NotFoundError, PermissionDeniedError
from turnwise.types.event import ChannelEvent, ChannelMessageEvent

pytestmark = pytest.mark.slow

logger = logging.getLogger(__name__)

LONG = Pace(first=1000, delay=0.02)


async def spoken(stage: Scene, task: Task) -> None:
    """Wait until the bot has begun to speak."""
    async with asyncio.timeout(60):
        while not task.tokens:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def test_a_dispatch_is_answered_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        stage.lead_to(await stage.serve(CALM))
        took: list[float] = []
        for task in await stage.tasks(20):
            began = time.perf_counter()
            await stage.client.conversation.dispatch(task.conversation_id, text="ping")
            took.append(time.perf_counter() - began)
        logger.info("dispatched: %.1f ms (median), %.1f ms (worst)", statistics.median(took) * 1e3, max(took) * 1e3)
        assert statistics.median(took) < 1 + stage.stalls.allowance


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("dispatched", [False, True])
async def test_a_running_turn_ends_when_it_is_cancelled_and_keeps_what_was_said(
    tmp_path: Path, dispatched: bool, elsewhere: bool
) -> None:
    async with scene(tmp_path, LONG) as stage:
        here, there = await asyncio.gather(stage.serve(CALM), stage.serve(CALM))
        stage.lead_to(here)
        (task,) = await stage.tasks(1)
        stage.start(task.dispatch(stage.client) if dispatched else task.complete(stage.client))
        await spoken(stage, task)
        url = there.url if elsewhere else here.url
        async with AsyncTurnwise(secret=SECRET, base_url=url) as other:
            began = time.perf_counter()
            cancelled = await other.conversation.cancel(task.conversation_id)
            await stage.done(1)
            logger.info("cancelled: ended after %.1f ms", (time.perf_counter() - began) * 1e3)
            turn = await other.conversation.turn(task.conversation_id)
            assert (turn.id, turn.state, turn.reason) == (cancelled.id, "aborted", "abort")
            with pytest.raises(NotFoundError):
                await other.conversation.cancel(task.conversation_id)
        said, kept = await stage.messages(task)
        assert said.text == task.said
        assert kept.meta == {"interrupted": True, "reason": "abort"}
        assert task.text == kept.text
        assert (await stage.client.conversation.complete(task.conversation_id, text="ping")).text == "pong"


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_turn_that_waits_can_be_cancelled(tmp_path: Path, elsewhere: bool) -> None:
    async with scene(tmp_path, LONG) as stage:
        here, there = await asyncio.gather(stage.serve(CALM), stage.serve(CALM))
        stage.lead_to(here)
        (first,) = await stage.tasks(1)
        stage.start(first.dispatch(stage.client))
        await spoken(stage, first)
        channel = os.urandom(16).hex()
        await stage.client.conversation.dispatch(first.conversation_id, text="too much", channel_id=channel)
        url = there.url if elsewhere else here.url
        async with AsyncTurnwise(secret=SECRET, base_url=url) as other:
            began = time.perf_counter()
            await other.conversation.cancel(None, channel_id=channel)
            async with asyncio.timeout(60), other.channel.subscribe(channel, history_length=100) as events:
                assert [event["type"] async for _, event in published(events)] == ["abort", "receiveResult", "result"]
            logger.info("cancelled while it waited: ended after %.1f ms", (time.perf_counter() - began) * 1e3)
            with pytest.raises(NotFoundError):
                await other.conversation.cancel(None, channel_id=channel)
            await other.conversation.cancel(first.conversation_id)
            await stage.done(5)
        assert [message.text for message in await stage.messages(first)][::2] == [first.said]
        assert (await stage.client.conversation.complete(first.conversation_id, text="ping")).text == "pong"


async def published(events: AsyncIterator[ChannelEvent]) -> AsyncGenerator[tuple[int, dict[str, Any]]]:
    """Yield what a dispatch publishes, to its end, with the numbers."""
    async for event in events:
        if isinstance(event, ChannelMessageEvent):
            data = cast("dict[str, Any]", event.data)
            yield event.seq or 0, data
            if data["type"] in {"result", "error"}:
                return
    raise AssertionError("the channel ended before the turn")


async def test_the_same_channel_starts_nothing_again_wherever_and_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        here, there = await asyncio.gather(stage.serve(CALM), stage.serve(CALM))
        stage.lead_to(here)
        tasks = await stage.tasks(5)
        async with AsyncTurnwise(secret=SECRET, base_url=there.url) as other:
            asked = [
                client.conversation.dispatch(task.conversation_id, text="ping", channel_id=task.channel)
                for task in tasks
                for client in (stage.client, other) * 5
            ]
            answers = await asyncio.gather(*asked)
        assert [answer.channel_id for answer in answers] == [task.channel for task in tasks for _ in range(10)]
        await stage.ended(tasks, 5)
        assert await stage.stored(tasks) == [[("user", "ping"), ("bot", "pong")]] * 5


async def test_a_page_with_a_sessions_token_goes_on_where_it_was_reloaded(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        stage.lead_to(await stage.serve(CALM))
        task, foreign = await stage.tasks(2)
        token = (await stage.client.conversation.session.create(task.conversation_id)).token
        await stage.client.conversation.dispatch(foreign.conversation_id, text="ping", channel_id=foreign.channel)
        async with AsyncTurnwise(secret=token, base_url=stage.proxy.url) as page:
            # Functions with a static result alone: nobody but the page is there.
            functions = task.functions[1:]
            await page.conversation.dispatch(task.conversation_id, text=task.said, functions=functions)
            turn = await page.conversation.turn(task.conversation_id)
            assert turn.channel_id is not None
            seen, seq = "", 0
            async with page.channel.subscribe(turn.channel_id, history_length=100) as events:
                async for number, event in published(events):
                    seq = number
                    seen += event["data"].get("token", "")
                    if len(seen) > 20:
                        break
        async with AsyncTurnwise(secret=token, base_url=stage.proxy.url) as page:
            turn = await page.conversation.turn(task.conversation_id)
            assert (turn.state, turn.attempt) == ("running", 1)
            async with page.channel.subscribe(turn.channel_id or "", after=seq) as events:
                async for number, event in published(events):
                    assert number > seq
                    seq = number
                    seen += event["data"].get("token", "")
            with pytest.raises(PermissionDeniedError):
                await page.conversation.turn(foreign.conversation_id)
            with pytest.raises(PermissionDeniedError):
                async with page.channel.subscribe(foreign.channel, history_length=1) as events:
                    await anext(events)
        stored = await stage.messages(task)
        assert seen == "".join(message.text for message in stored if message.type == "bot")


async def test_dispatches_that_wait_in_one_conversation_take_no_room_from_others(tmp_path: Path) -> None:
    async with scene(tmp_path, LONG) as stage:
        stage.lead_to(await stage.serve(CALM, TURNWISE_MAX_ACCOUNT_DISPATCHES="2"))
        busy, free = await stage.tasks(2)
        stage.start(busy.dispatch(stage.client))
        await spoken(stage, busy)
        for _ in range(3):
            await stage.client.conversation.dispatch(busy.conversation_id, text="ping")
        async with (
            asyncio.timeout(60),
            stage.client.conversation.dispatch_stream(free.conversation_id, text="ping") as stream,
        ):
            assert (await stream.until_done()).text == "pong"
        assert not any(one.done() for one in stage.working)
        await stage.client.conversation.cancel(busy.conversation_id)
        await stage.done(5)
        await stage.ended([busy], 5)
        assert [line for line in (await stage.stored([busy]))[0] if line[1] == "pong"] == [("bot", "pong")] * 3
