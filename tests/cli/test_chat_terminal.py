"""The chat as a person meets it: the whole command, in a terminal."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND
from tests.cli.model_server import MODEL, model_server
from tests.cli.terminal import CTRL_C, CTRL_D, ENTER, ESCAPE, Terminal, terminal

from turnwise import Turnwise
from turnwise.server.embed import EmbeddedServer

SIGN = "\u203a "
PROMPT = SIGN + r"\Z"
SLOW = " ".join(f"word{number}" for number in range(1000))


@pytest.fixture
def chat(server: EmbeddedServer) -> Iterator[Terminal]:
    with terminal(
        *COMMAND, "chat", "--backstory", "We open at 9.", TURNWISE_BASE_URL=server.url, TURNWISE_SECRET=server.secret
    ) as opened:
        opened.expect(PROMPT)
        yield opened


def test_an_answer_follows_a_question(chat: Terminal) -> None:
    chat.type(f"When do you open?{ENTER}")
    chat.expect(r"We open at 9\.")
    chat.expect(PROMPT)
    chat.type(CTRL_D)
    assert chat.status() == 0


def test_an_answer_is_shown_while_it_is_made_and_ctrl_c_stops_it_and_keeps_it(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'chat.db'}"
    with (
        model_server([SLOW, "Back again."], delay=0.03) as url,
        terminal(*COMMAND, "chat", "--database", database, OPENAI_BASE_URL=url, TURNWISE_MODEL=MODEL) as chat,
    ):
        chat.expect(PROMPT)
        chat.type(f"Count{ENTER}")
        first = chat.expect("word1 ")
        assert chat.expect("word60 ") - first > 0.2  # it took 1.8 s to say that
        chat.type(CTRL_C)
        chat.expect("Stopped. What was said so far is kept.")
        chat.expect(PROMPT)
        assert "^C" not in chat.text
        chat.type(f"Still there?{ENTER}")
        chat.expect(r"Back again\.")
        chat.expect(PROMPT)
        chat.type(f"/history{ENTER}")
        chat.expect("word20 ")
        chat.expect(r"\(stopped\)")
        chat.expect(PROMPT)
        chat.type(CTRL_C)
        assert chat.status() == 130


def test_ctrl_c_in_a_line_clears_it(chat: Terminal) -> None:
    chat.type(f"Never mind{CTRL_C}When do you open?{ENTER}")
    chat.expect(r"We open at 9\.")


def test_a_message_may_have_several_lines(chat: Terminal, server: EmbeddedServer) -> None:
    chat.type(f"When do{ESCAPE}{ENTER}you open?{ENTER}")
    chat.expect(r"We open at 9\.")
    with Turnwise(secret=server.secret, base_url=server.url) as client:
        [conversation] = client.conversation.list().items
        [question, _] = client.conversation.message.list(conversation.id).items
    assert question.text == "When do\nyou open?"


def test_what_is_pasted_is_not_sent_line_by_line(chat: Terminal) -> None:
    chat.type(f"{ESCAPE}[200~When do\nyou open?\n{ESCAPE}[201~{ENTER}")
    chat.expect(r"We open at 9\.")
    chat.type(f"/history{ENTER}")
    chat.expect(r"When do\n")
    chat.expect(PROMPT)


def test_errors_are_told_and_the_chat_goes_on(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'chat.db'}"
    with (
        model_server([], status=400) as url,
        terminal(*COMMAND, "chat", "--database", database, OPENAI_BASE_URL=url, TURNWISE_MODEL=MODEL) as chat,
    ):
        chat.expect(PROMPT)
        chat.type(f"Hi{ENTER}")
        chat.expect("error: (?s:.*)asleep")
        chat.expect(PROMPT)
        chat.type(f"/model offline{ENTER}")
        chat.expect("offline answers from now on")
        chat.expect(PROMPT)
        chat.type(f"Hi{ENTER}")
        chat.expect("Hello!")


def test_commands_work_and_are_completed(chat: Terminal) -> None:
    chat.type(f"When do you open?{ENTER}")
    chat.expect(r"We open at 9\.")
    chat.expect(PROMPT)
    chat.type(f"/lis\t{ENTER}")
    chat.expect(r"1 +When do you open\? +\S+ +\S")
    chat.expect(PROMPT)
    chat.type(f"/copy{ENTER}")
    chat.expect("Copied 13 characters")
    assert "\x1b]52;c;" + base64.b64encode(b"We open at 9.").decode() + "\x07" in chat.raw
    chat.expect(PROMPT)
    chat.type(f"/new{ENTER}")
    chat.expect("new conversation begins")
    chat.expect(PROMPT)
    chat.type(f"/op\t1{ENTER}")
    chat.expect("We open at 9.")
    chat.expect("Going on with")
    chat.expect(PROMPT)
    chat.type(f"/q{ENTER}")
    assert chat.status() == 0


def test_what_is_typed_ahead_waits_for_the_prompt(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'chat.db'}"
    with (
        model_server(["one two three four five", "six"], delay=0.1) as url,
        terminal(*COMMAND, "chat", "--database", database, OPENAI_BASE_URL=url, TURNWISE_MODEL=MODEL) as chat,
    ):
        chat.expect(PROMPT)
        chat.type(f"Count{ENTER}")
        chat.expect("two ")
        chat.type(f"Go on{ENTER}")
        chat.expect("five")
        chat.expect(f"{SIGN}Go on")
        chat.expect("six")


def test_the_last_conversation_is_shown_when_it_goes_on(server: EmbeddedServer) -> None:
    environment = {"TURNWISE_BASE_URL": server.url, "TURNWISE_SECRET": server.secret}
    with terminal(*COMMAND, "chat", "--backstory", "We open at 9.", **environment) as chat:
        chat.expect(PROMPT)
        chat.type(f"When do you open?{ENTER}")
        chat.expect("We open at 9.")
        chat.expect(PROMPT)
        chat.type(CTRL_D)
        assert chat.status() == 0
    with terminal(*COMMAND, "chat", "--continue", **environment) as chat:
        chat.expect(r"When do you open\?\n+We open at 9\.")


def test_a_terminal_that_can_do_nothing_gets_plain_text(server: EmbeddedServer) -> None:
    environment = {"TURNWISE_BASE_URL": server.url, "TURNWISE_SECRET": server.secret, "TERM": "dumb"}
    with terminal(*COMMAND, "chat", "--backstory", "We open at **9**.", **environment) as chat:
        chat.expect("Turnwise")
        chat.type(f"When do you open?{ENTER}")
        chat.expect(r"We open at \*\*9\*\*\.")
    assert "?2026" not in chat.raw


def test_no_color_is_obeyed(server: EmbeddedServer) -> None:
    environment = {"TURNWISE_BASE_URL": server.url, "TURNWISE_SECRET": server.secret, "NO_COLOR": "1"}
    with terminal(*COMMAND, "chat", "--backstory", "Type `open` at 9.", **environment) as chat:
        chat.expect(PROMPT)
        chat.type(f"What to type?{ENTER}")
        chat.expect("Type open at 9.")
    assert not re.search(r"\x1b\[(?:\d+;)*[349][0-7]m|\x1b\[(?:\d+;)*[349][0-7];", chat.raw)


def test_history_is_kept_for_the_user_alone(chat: Terminal) -> None:
    chat.type(f"When do you open?{ENTER}")
    chat.expect(r"We open at 9\.")
    history = Path(os.environ["XDG_DATA_HOME"]) / "turnwise" / "history"
    assert "When do you open?" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_without_a_place_for_its_files_the_chat_keeps_no_history(server: EmbeddedServer) -> None:
    environment = {"TURNWISE_BASE_URL": server.url, "TURNWISE_SECRET": server.secret, "XDG_DATA_HOME": os.devnull}
    with terminal(*COMMAND, "chat", "--backstory", "We open at 9.", **environment) as chat:
        chat.expect(PROMPT)
        chat.type(f"When do you open?{ENTER}")
        chat.expect(r"We open at 9\.")
