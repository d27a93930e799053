"""The chat in scripts: lines in, answers out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, Cli, Command
from tests.cli.model_server import MODEL, model_server

from turnwise import Turnwise
from turnwise.server.embed import EmbeddedServer

BACKSTORY = "We open at 9 on weekdays. Parking is free."


def test_each_line_is_a_message_and_each_answer_a_line(command: Command) -> None:
    ended = command("chat", "--backstory", BACKSTORY, input="When do you open?\n\nIs parking free?\n")
    assert ended.stdout == "We open at 9 on weekdays.\nParking is free.\n"
    assert ended.returncode == 0
    assert "offline" in ended.stderr


def test_a_message_without_a_line_break_counts_too(command: Command) -> None:
    ended = command("chat", "--model", "offline", "--backstory", BACKSTORY, input="When do you open?")
    assert (ended.stdout, ended.stderr) == ("We open at 9 on weekdays.\n", "")


def test_the_backstory_may_be_in_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shop.txt").write_text(BACKSTORY)
    ended = cli("chat", "--backstory", f"@{tmp_path / 'shop.txt'}", input="When do you open?\n")
    assert ended.stdout == "We open at 9 on weekdays.\n"


def test_a_backstory_that_cannot_be_read_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    ended = cli("chat", "--backstory", f"@{tmp_path / 'nothing'}", input="Hi\n")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "No such file" in " ".join(ended.stderr.split())


def test_the_last_conversation_goes_on(cli: Cli) -> None:
    cli("chat", "--backstory", BACKSTORY, input="Hi\n")
    assert cli("chat", "-c", input="When do you open?\n").stdout == "We open at 9 on weekdays.\n"
    assert len(cli("conversation", "list", "--json").stdout.splitlines()) == 1


def test_without_a_last_conversation_a_new_one_begins(cli: Cli) -> None:
    ended = cli("chat", "-c", input="Hi\n")
    assert ended.exit_code == 0
    assert "no last conversation" in ended.stderr


def test_a_last_conversation_that_was_deleted_makes_room_for_a_new_one(cli: Cli, server: EmbeddedServer) -> None:
    cli("chat", input="Hi\n")
    with Turnwise(secret=server.secret, base_url=server.url) as client:
        [before] = client.conversation.list().items
        client.conversation.delete(before.id)
        assert cli("chat", "-c", input="Hi\n").exit_code == 0
        [after] = client.conversation.list().items
    assert after.id != before.id


def test_a_named_conversation_goes_on_with_another_backstory(cli: Cli, server: EmbeddedServer) -> None:
    with Turnwise(secret=server.secret, base_url=server.url) as client:
        made = client.conversation.create(backstory="We open at 8.")
    ended = cli("chat", made.id, "--backstory", BACKSTORY, input="When do you open?\n")
    assert ended.stdout == "We open at 9 on weekdays.\n"


def test_json_gives_the_events(cli: Cli) -> None:
    ended = cli("chat", "--json", "--backstory", BACKSTORY, input="When do you open?\n")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    tokens = [event["data"]["token"] for event in events if event["type"] == "token"]
    assert "".join(tokens) == "We open at 9 on weekdays."
    assert events[-1]["type"] == "result"


def test_json_without_streaming_gives_the_result(cli: Cli) -> None:
    ended = cli("chat", "--json", "--no-stream", "--backstory", BACKSTORY, input="When do you open?\n")
    [result] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (result["text"], result["end"]) == ("We open at 9 on weekdays.", {"reason": "stop"})


def test_an_answer_can_be_had_whole(cli: Cli) -> None:
    ended = cli("chat", "--no-stream", "--backstory", BACKSTORY, input="When do you open?\n")
    assert ended.stdout == "We open at 9 on weekdays.\n"


def test_nothing_said_leaves_no_conversation(cli: Cli) -> None:
    assert cli("chat", input="\n  \n").exit_code == 0
    assert cli("conversation", "list", "--json").stdout == ""


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_a_model_that_fails_is_status_1_and_ends_it(command: Command, stream: str) -> None:
    with model_server([], status=400) as url:
        ended = command("chat", stream, input="Hi\nAnd?\n", OPENAI_BASE_URL=url, TURNWISE_MODEL=MODEL)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("error: ") == 1
    assert "asleep" in ended.stderr


def test_an_unknown_model_is_status_1_and_says_which_there_are(cli: Cli) -> None:
    ended = cli("chat", "--model", "nobody", input="Hi\n")
    assert ended.exit_code == 1
    assert "offline" in ended.stderr


def test_an_address_that_cannot_be_is_a_usage_error(cli: Cli) -> None:
    ended = cli("chat", "--base-url", "nowhere", input="Hi\n")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "base_url" in ended.stderr


def test_a_data_folder_that_cannot_be_written_is_no_reason_not_to_chat(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert cli("chat", input="Hi\n").exit_code == 0


def test_an_unknown_conversation_is_status_4(cli: Cli) -> None:
    assert cli("chat", "nowhere", input="Hi\n").exit_code == 4


def test_a_conversation_and_the_last_one_cannot_both_go_on(cli: Cli) -> None:
    assert cli("chat", "some", "-c", input="Hi\n").exit_code == 2


def test_an_answer_is_written_while_it_is_made_and_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    with model_server(["one two three " * 200], delay=0.05) as url:
        database = f"sqlite:///{tmp_path / 'interrupted.db'}"
        arguments = [*COMMAND, "chat", "--model", MODEL, "--database", database]
        with subprocess.Popen(
            arguments,
            env={**os.environ, "OPENAI_BASE_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"Count\n")
            process.stdin.flush()
            assert process.stdout.read(7) == b"one two"
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, b"")
