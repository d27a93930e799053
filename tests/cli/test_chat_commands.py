from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from turnwise import AsyncTurnwise
from turnwise.cli.chat import commands
from turnwise.cli.chat.commands import Leave
from turnwise.cli.chat.session import ChatSession
from turnwise.cli.chat.state import LastConversations
from turnwise.cli.exits import CommandFailed
from turnwise.server.embed import EmbeddedServer

ANSWER = "Two ways:\n\n```sh\nfirst\n```\n\nor\n\n```\nsecond\nline\n```\n"


@pytest.fixture
async def session(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[ChatSession]:
    async with AsyncTurnwise(secret=server.secret, base_url=server.url) as client:
        yield ChatSession(client.conversation, server.url, LastConversations(tmp_path / "last.json"))


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_the_beginning_of_a_command_is_enough(session: ChatSession, console: Console) -> None:
    await commands.run("/he", session, console)
    assert "/history" in shown(console)


@pytest.mark.parametrize(
    "line,told",
    [
        ("/nonsense", "There is no command /nonsense"),
        ("/", "There is no command /"),
        ("/h", "/history or /help"),
        ("/open", "needs a number"),
        ("/copy", "nothing to copy"),
        ("/copy code", "no code block"),
    ],
)
async def test_a_command_that_cannot_be_done_says_why(
    session: ChatSession, console: Console, line: str, told: str
) -> None:
    with pytest.raises(CommandFailed, match=told):
        await commands.run(line, session, console)


async def test_quit_leaves(session: ChatSession, console: Console) -> None:
    with pytest.raises(Leave):
        await commands.run("/quit", session, console)


async def test_copy_takes_the_last_code_block_alone(session: ChatSession, console: Console) -> None:
    session.answer = ANSWER
    await commands.run("/copy code", session, console)
    assert "Copied 12 characters" in shown(console)


async def test_open_takes_a_number_that_was_never_listed(session: ChatSession, console: Console) -> None:
    made = await session.conversations.create(name="The bakery", messages=[{"type": "user", "text": "Good morning"}])
    await commands.run("/open 1", session, console)
    assert session.conversation_id == made.id
    assert "Good morning" in shown(console)
    assert commands.choices(session, "/open") == [("1", "The bakery")]


async def test_open_shows_the_end_and_history_all(session: ChatSession, console: Console) -> None:
    messages = [{"type": "user", "text": f"message {number}."} for number in range(130)]
    made = await session.conversations.create({"messages": messages})
    await commands.run(f"/open {made.id}", session, console)
    assert "message 110." in shown(console)
    assert "message 109." not in shown(console)
    await commands.run("/history", session, console)
    assert "message 0." in shown(console)
    assert shown(console).rstrip().endswith("message 129.")


async def test_new_leaves_the_conversation_as_it_is(session: ChatSession, console: Console) -> None:
    await session.whole("Hello")
    before = session.conversation_id
    await commands.run("/new", session, console)
    await session.whole("Hello again")
    assert session.conversation_id not in {None, before}


async def test_model_changes_the_conversation(session: ChatSession, console: Console) -> None:
    await session.whole("Hello")
    assert session.conversation_id is not None
    await commands.run("/model offline/temperature=0", session, console)
    assert (await session.conversations.fetch(session.conversation_id)).model == "offline/temperature=0"


async def test_model_says_who_answers_as_far_as_it_is_known(session: ChatSession, console: Console) -> None:
    for session.preferred_model, session.model, told in (
        (None, None, "the one the server prefers"),
        ("offline", None, "offline"),
        ("offline", "m", "m"),
    ):
        await commands.run("/model", session, console)
        assert shown(console).splitlines()[-1] == f"The model is {told}. /model NAME takes another."


async def test_the_conversation_is_named_after_its_first_message(session: ChatSession, console: Console) -> None:
    await session.whole("When  do\nyou open? " + "And why? " * 20)
    await commands.run("/list", session, console)
    assert "When do you open? And why?" in shown(console)
    assert len(session.listed[0][1]) <= 60


def test_what_is_remembered_survives_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "last.json").write_text("{broken")
    last = LastConversations(tmp_path / "last.json")
    assert last.get("here") is None
    last.set("here", "one")
    last.set("there", "two")
    assert (last.get("here"), last.get("there")) == ("one", "two")
