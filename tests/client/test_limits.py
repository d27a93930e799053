"""Limits of a real server, as the clients meet them."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from turnwise import AsyncConversationClient, ConversationClient, RateLimitError
from turnwise.server.embed import EmbeddedServer, embedded
from turnwise.server.settings import Settings

LIMITS = Settings(model="offline", discover=False, max_account_requests=2, grace=1)


@pytest.fixture
def server(tmp_path: Path) -> Generator[EmbeddedServer, None, None]:
    with embedded(settings=LIMITS, database_url=f"sqlite:///{tmp_path / 'turnwise.db'}") as running:
        yield running


def test_what_a_limit_refuses_is_told_with_its_code_and_when_to_come_back(server: EmbeddedServer) -> None:
    with ConversationClient(secret=server.secret, base_url=server.url, retries=0) as client:
        client.create()
        client.create()
        with pytest.raises(RateLimitError, match="limit of 2 requests a minute: 0 are left") as caught:
            client.create()
    error = caught.value
    assert (error.status, error.code) == (429, "LIMITS_REACHED")
    assert error.retry_after is not None
    assert 55 <= error.retry_after <= 65
    assert error.headers["ratelimit-policy"] == '"account-requests";q=2;w=60'


def test_the_client_waits_as_long_as_the_server_says_but_half_a_minute_at_most(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with ConversationClient(secret=server.secret, base_url=server.url, retries=2) as client:
        client.create()
        client.create()
        with pytest.raises(RateLimitError):
            client.create()
    assert waited == [30.0, 30.0]


async def test_the_async_client_waits_likewise(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    async with AsyncConversationClient(secret=server.secret, base_url=server.url, retries=1) as client:
        await client.create()
        await client.create()
        monkeypatch.setattr("turnwise._runner._asleep", note)
        with pytest.raises(RateLimitError):
            await client.create()
    assert waited == [30.0]
