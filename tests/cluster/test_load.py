"""Fifty conversations at once, through a balancer, while servers die: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import pytest
from tests.cluster.aftermath import check
from tests.cluster.balancer import Spreader
from tests.cluster.members import Killer, cluster
from tests.crash.scene import FULL
from tests.crash.task import Line, Task, line_of
from tests.crash.worker import Pace
from tests.server.postgres import PostgresServer
from tests.stalls import Stalls

from turnwise import AsyncTurnwise

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

logger = logging.getLogger(__name__)
"""Figures: `pytest --log-cli-level=INFO` shows them."""

T = TypeVar("T")

KILLS = 12 if FULL else 2
FAST: Final[Mapping[str, str]] = {"TURNWISE_MAX_ACCOUNT_REQUESTS": "0", "TURNWISE_MAX_ACCOUNT_MESSAGES": "0"}
"""On a quick machine fifty conversations ask more than an account may by default."""
PACE: Final = Pace(first=3, words=10, delay=0.05)


@dataclass
class Talk:
    """One conversation: what is said in it, in order, and what must be there in the end."""

    number: int
    conversation_id: str
    client: AsyncTurnwise
    expected: list[Line] = field(default_factory=list[Line])
    replies: list[str] = field(default_factory=list[str])
    """The ids of the replies that somebody waited for."""
    attempts: int = 0
    """How often another server went on with a dispatched turn."""
    took: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Seconds that each thing took, each time."""

    async def go_on_until(self, killer: Killer, kills: int) -> None:
        """Send, complete and dispatch, one after another, until so many servers were killed."""
        turn = 0
        while killer.count < kills:
            turn += 1
            note, question = f"note {turn}", f"question {turn}"
            await self._timed("send", self.client.conversation.send(self.conversation_id, text=note))
            completing = self.client.conversation.complete(self.conversation_id, text=question)
            answer = await self._timed("complete", completing)
            assert answer.text == f"You said: {question}"
            self.replies.append(answer.id)
            task = Task(1000 * self.number + turn, self.conversation_id, PACE)
            began = time.monotonic()
            await task.dispatch(self.client, resumable=True)
            self._note(f"dispatch, {len(task.attempts)} times taken over", began)
            assert task.text == task.answer
            assert task.told == task.reply
            self.attempts += len(task.attempts)
            said = [("user", note), ("user", question), ("bot", answer.text), ("user", task.said), *task.reply]
            self.expected += said

    async def check(self) -> None:
        """Assert that the conversation holds what was said, once and in order."""
        messages = [each async for each in self.client.conversation.message.list(self.conversation_id)]
        # A reply that was waited for ends with its server; its request, sent again, got another one.
        broken = [each for each in messages if (each.meta or {}).get("interrupted")]
        assert all(each.type == "bot" and (each.meta or {})["interrupted"] is True for each in broken)
        assert [line_of(each) for each in messages if each not in broken] == self.expected
        assert [each.id for each in messages if each.id in self.replies] == self.replies

    async def _timed(self, name: str, work: Awaitable[T]) -> T:
        began = time.monotonic()
        result = await work
        self._note(name, began)
        return result

    def _note(self, name: str, began: float) -> None:
        self.took.setdefault(name, []).append(time.monotonic() - began)


@dataclass
class Crowd:
    """Conversations, all at once."""

    talks: list[Talk]

    @classmethod
    async def of(cls, client: AsyncTurnwise, count: int = 50) -> Crowd:
        """Make so many."""
        made = await asyncio.gather(*(client.conversation.create() for _ in range(count)))
        return cls([Talk(number, each.id, client) for number, each in enumerate(made, 1)])

    async def talk(self, killer: Killer, kills: int) -> None:
        """Go on until so many servers were killed, and then look at what is there."""
        async with asyncio.TaskGroup() as group:
            for talk in self.talks:
                group.create_task(talk.go_on_until(killer, kills))
        await asyncio.gather(*(talk.check() for talk in self.talks))
        logger.info("%d servers ended, %d turns taken over", killer.count, self.attempts)
        for name in sorted({name for talk in self.talks for name in talk.took}):
            took = sorted(each for talk in self.talks for each in talk.took.get(name, ()))
            middle, most = took[len(took) // 2], took[int(len(took) * 0.99)]
            logger.info("%d x %s: p50 %.3f s, p99 %.1f s, at most %.1f s", len(took), name, middle, most, took[-1])

    @property
    def attempts(self) -> int:
        """How often a server went on with a turn of another one."""
        return sum(talk.attempts for talk in self.talks)


async def test_fifty_conversations_lose_and_double_nothing_while_one_of_three_processes_is_killed_every_five_seconds(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    async with (
        cluster(tmp_path, postgres.database(), FAST, pace=PACE) as running,
        AsyncTurnwise(secret=running.deployment.secret, base_url=running.balancer.url, retries=5) as client,
    ):
        crowd = await Crowd.of(client)
        async with running.killing() as killer:
            await crowd.talk(killer, KILLS)
        await check(running)
        assert running.balancer.cut
        assert crowd.attempts


@pytest.mark.skipif(not FULL, reason="with TURNWISE_TEST_FULL=1 only: the same as above, a layer below")
async def test_the_same_holds_behind_a_balancer_of_connections(postgres: PostgresServer, tmp_path: Path) -> None:
    async with (
        cluster(tmp_path, postgres.database(), FAST, pace=PACE) as running,
        Spreader() as spreader,
        AsyncTurnwise(secret=running.deployment.secret, base_url=spreader.url, retries=5) as client,
    ):
        spreader.ports += [member.port for member in running.members]
        crowd = await Crowd.of(client)
        async with running.killing() as killer:
            await crowd.talk(killer, KILLS)
        assert crowd.attempts


async def test_clients_that_never_try_again_notice_nothing_of_a_rolling_restart(
    postgres: PostgresServer, tmp_path: Path, stalls: Stalls
) -> None:
    await stalls.forgiven(lambda: rolling_restart(postgres, tmp_path))


async def rolling_restart(postgres: PostgresServer, tmp_path: Path) -> None:
    async with (
        cluster(tmp_path, postgres.database(), {**FAST, "TURNWISE_GRACE": "30"}, pace=PACE) as running,
        AsyncTurnwise(secret=running.deployment.secret, base_url=running.balancer.url, retries=0) as client,
    ):
        crowd = await Crowd.of(client, 10)
        async with running.killing(signal.SIGTERM, every=1.0) as killer:
            await crowd.talk(killer, len(running.members))
        await check(running)
        assert [each.path for each in running.balancer.cut] == []
