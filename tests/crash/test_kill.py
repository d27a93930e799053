"""`kill -9` in the middle of many sends and completes: nothing acknowledged is missing or doubled after a restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.crash.process import SECRET, SERVE, SERVE_MUTANT, ServerProcess

from turnwise import AsyncTurnwise, TurnwiseError

CONVERSATIONS = 20
REQUESTS = 200


@dataclass
class Request:
    """One send or complete, under a key of its own."""

    number: int
    conversation_id: str
    completes: bool
    answered: str | None = None
    """The id in the acknowledged answer."""

    @property
    def text(self) -> str:
        return f"request {self.number}"

    async def make(self, client: AsyncTurnwise) -> str:
        key = {"idempotency-key": f"key-{self.number}"}
        if self.completes:
            result = await client.conversation.complete(
                self.conversation_id, text=self.text, extra_headers=key, retries=0
            )
            return result.id
        sent = await client.conversation.send(self.conversation_id, text=self.text, extra_headers=key, retries=0)
        return sent.id


@dataclass
class Stored:
    """What a conversation holds."""

    ids: Counter[str] = field(default_factory=Counter[str])
    user_texts: Counter[str] = field(default_factory=Counter[str])


async def stored_in(client: AsyncTurnwise, conversation_ids: list[str]) -> Stored:
    stored = Stored()
    for conversation_id in conversation_ids:
        async for message in client.conversation.message.list(conversation_id):
            stored.ids[message.id] += 1
            if message.type == "user":
                stored.user_texts[message.text] += 1
    return stored


async def ask_and_kill(server: ServerProcess, after: int) -> list[Request]:
    """Make all requests at once and kill the server once `after` of them were answered."""
    async with AsyncTurnwise(secret=SECRET, base_url=server.url) as client:
        made = await asyncio.gather(
            *(client.conversation.create(backstory="We open at 9.") for _ in range(CONVERSATIONS))
        )
        requests = [
            Request(number, made[number % CONVERSATIONS].id, completes=number % 2 == 0) for number in range(REQUESTS)
        ]
        answers = 0

        async def make(request: Request) -> None:
            nonlocal answers
            try:
                request.answered = await request.make(client)
            except TurnwiseError:
                return
            answers += 1
            if answers == after:
                server.kill()

        await asyncio.gather(*(make(request) for request in requests))
    return requests


async def check(server: ServerProcess, requests: list[Request]) -> None:
    """Assert that what was answered is there, and that asking again completes the rest, each exactly once."""
    conversation_ids = list(dict.fromkeys(request.conversation_id for request in requests))
    async with AsyncTurnwise(secret=SECRET, base_url=server.url) as client:
        before = await stored_in(client, conversation_ids)
        answered = [request for request in requests if request.answered is not None]
        assert {request.number: before.ids[request.answered or ""] for request in answered} == {
            request.number: 1 for request in answered
        }
        assert {request.number: before.user_texts[request.text] for request in answered} == {
            request.number: 1 for request in answered
        }
        again = await asyncio.gather(*(request.make(client) for request in requests))
        assert all(request.answered in {None, answer} for request, answer in zip(requests, again, strict=True))
        after = await stored_in(client, conversation_ids)
        assert after.user_texts == Counter(request.text for request in requests)
        assert all(count == 1 for count in after.ids.values())


async def scenario(database: Path, after: int, *, program: tuple[str, ...]) -> None:
    with ServerProcess(database, program=program) as server:
        requests = await asyncio.wait_for(ask_and_kill(server, after), 60)
    assert sum(request.answered is not None for request in requests) >= after
    with ServerProcess(database) as server:
        await asyncio.wait_for(check(server, requests), 60)


@pytest.mark.slow
@pytest.mark.parametrize("round_number", range(3))
async def test_a_killed_server_loses_and_doubles_nothing_it_acknowledged(tmp_path: Path, round_number: int) -> None:
    after = 5 + 45 * round_number
    await scenario(tmp_path / "killed.db", after, program=SERVE)


@pytest.mark.slow
async def test_this_test_finds_out_a_writer_that_acknowledges_before_it_commits(tmp_path: Path) -> None:
    database = tmp_path / "mutant.db"
    with ServerProcess(database) as honest:
        honest.stop()
    with pytest.raises(AssertionError):
        await scenario(database, 20, program=SERVE_MUTANT)
