"""A process that is killed loses nothing it acknowledged, and doubles nothing; a writer that cheats is found out."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from tests.server.storage.crash_writer import ACCOUNT, SENDERS, conversation_of
from tests.server.storage.scene import StillClock, conversation

from turnwise.server.storage.base import MessageQuery, Storage
from turnwise.server.storage.sqlite import SqliteStorage

ACKNOWLEDGED = 1500
"""How many writes are acknowledged before the process is killed."""


async def killed_in_the_middle(path: Path, writer: str) -> list[str]:
    """Run a writing process and kill it; return what it had acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.server.storage.crash_writer",
        str(path),
        writer,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(ACKNOWLEDGED)]
    process.kill()
    lines += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


async def everything(storage: Storage, sender: int) -> list[str]:
    texts: list[str] = []
    cursor: str | None = None
    while page := await storage.list_messages(ACCOUNT, conversation_of(sender), MessageQuery(cursor=cursor)):
        texts += [item.text for item in page]
        cursor = page[-1].id
    return texts


async def crashed(path: Path, writer: str) -> tuple[set[str], list[list[str]]]:
    """Return what was acknowledged before the crash, and what each sender's conversation holds after it."""
    storage = SqliteStorage(path, clock=StillClock())
    await storage.open()
    for sender in range(SENDERS):
        await storage.create_conversation(ACCOUNT, conversation(id=conversation_of(sender)), [])
    await storage.close()
    acknowledged = await killed_in_the_middle(path, writer)
    await storage.open()
    try:
        stored = [await everything(storage, sender) for sender in range(SENDERS)]
        for text in {text for texts in stored for text in texts}:
            assert await storage.find_once(ACCOUNT, "/send", text) is not None
    finally:
        await storage.close()
    return set(acknowledged), stored


async def test_nothing_acknowledged_is_missing_or_doubled_after_a_crash(tmp_path: Path) -> None:
    acknowledged, stored = await crashed(tmp_path / "t.db", "honest")
    assert acknowledged <= {text for texts in stored for text in texts}
    for sender, texts in enumerate(stored):
        assert texts == [f"{sender} {number}" for number in range(len(texts))]


@pytest.mark.parametrize("attempts", [5])
async def test_a_writer_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path, attempts: int) -> None:
    lost: set[str] = set()
    for attempt in range(attempts):
        acknowledged, stored = await crashed(tmp_path / f"{attempt}.db", "eager")
        lost |= acknowledged - {text for texts in stored for text in texts}
        if lost:
            break
    assert lost
