from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, Cli, Command
from tests.cli.terminal import CTRL_C, ENTER, terminal

from turnwise import Turnwise
from turnwise.server.embed import EmbeddedServer


@pytest.fixture
def client(server: EmbeddedServer) -> Turnwise:
    return Turnwise(secret=server.secret, base_url=server.url)


@pytest.fixture
def conversation_id(client: Turnwise) -> str:
    messages = [{"type": "user", "text": "When do you *open*?"}, {"type": "bot", "text": "At **nine**."}]
    return client.conversation.create({"name": "Opening hours", "backstory": "A shop.", "messages": messages}).id


def test_list_shows_whole_ids_and_names(cli: Cli, conversation_id: str) -> None:
    shown = cli("conversation", "list")
    assert shown.exit_code == 0
    assert f"{conversation_id}   Opening hours" in shown.stdout


def test_list_prints_one_json_object_a_line_up_to_the_limit(cli: Cli, client: Turnwise) -> None:
    ids = [client.conversation.create(name=f"number {number}").id for number in range(3)]
    shown = cli("conversation", "list", "--json", "--limit", "2")
    assert [json.loads(line)["id"] for line in shown.stdout.splitlines()] == ids[:0:-1]


def test_an_empty_list_says_how_to_begin_and_keeps_stdout_empty(cli: Cli) -> None:
    shown = cli("conversation", "list")
    assert (shown.stdout, shown.exit_code) == ("", 0)
    assert "turnwise chat" in shown.stderr


def test_show_renders_what_was_said(cli: Cli, conversation_id: str) -> None:
    shown = cli("conversation", "show", conversation_id)
    assert conversation_id in shown.stdout
    assert "When do you *open*?" in shown.stdout
    assert "At nine." in shown.stdout


def test_show_prints_the_conversation_as_json(cli: Cli, conversation_id: str) -> None:
    shown = json.loads(cli("conversation", "show", conversation_id, "--json").stdout)
    assert (shown["id"], shown["backstory"]) == (conversation_id, "A shop.")


@pytest.mark.parametrize(
    "arguments", [("conversation", "show"), ("conversation", "delete", "--yes"), ("message", "list")]
)
def test_what_does_not_exist_is_status_4_and_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    ended = cli(*arguments, "nowhere")
    assert (ended.exit_code, ended.stdout) == (4, "")
    assert ended.stderr.startswith("error: ")
    assert "nowhere" in ended.stderr


def test_export_writes_conversations_with_their_messages(cli: Cli, conversation_id: str, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    ended = cli("conversation", "export", "--messages", "--output", str(file))
    [exported] = [json.loads(line) for line in file.read_text().splitlines()]
    assert exported["id"] == conversation_id
    assert [message["text"] for message in exported["messages"]] == ["When do you *open*?", "At **nine**."]
    assert (ended.stdout, list(tmp_path.glob("*.part"))) == ("", [])
    assert "Wrote 1 conversation to" in ended.stderr


def test_export_writes_a_table_to_stdout(cli: Cli, conversation_id: str) -> None:
    [row] = csv.DictReader(cli("conversation", "export", "--format", "csv").stdout.splitlines())
    assert (row["id"], row["name"], row["botId"]) == (conversation_id, "Opening hours", "")


def test_export_of_named_conversations_leaves_out_the_others(cli: Cli, conversation_id: str, client: Turnwise) -> None:
    client.conversation.create(name="another")
    [line] = cli("conversation", "export", conversation_id).stdout.splitlines()
    assert json.loads(line)["id"] == conversation_id


def test_export_takes_json_like_its_neighbours(cli: Cli, conversation_id: str) -> None:
    [line] = cli("conversation", "export", "--json").stdout.splitlines()
    assert json.loads(line)["id"] == conversation_id
    assert cli("conversation", "export", "--json", "--format", "csv").exit_code == 2


def test_messages_in_a_table_are_a_usage_error(cli: Cli) -> None:
    assert cli("conversation", "export", "--messages", "--format", "csv").exit_code == 2


def test_an_export_that_cannot_be_written_says_so(cli: Cli, tmp_path: Path) -> None:
    ended = cli("conversation", "export", "--output", str(tmp_path / "missing" / "file"))
    assert ended.exit_code == 1
    assert "No such file or directory" in " ".join(ended.stderr.split())


def test_delete_refuses_where_nobody_can_be_asked(cli: Cli, conversation_id: str, client: Turnwise) -> None:
    assert cli("conversation", "delete", conversation_id).exit_code == 2
    assert client.conversation.fetch(conversation_id).id == conversation_id


def test_delete_asks_whoever_is_there(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNWISE_DATABASE_URL", f"sqlite:///{tmp_path / 'asked.db'}")
    command("chat", "--model", "offline", input="Good morning\n")
    conversation_id = command("conversation", "list").stdout.split("\n")[2].split()[0]
    for answer, status in (("n", 1), (CTRL_C, 130), ("y", 0)):
        with terminal(*COMMAND, "conversation", "delete", conversation_id) as asked:
            asked.expect("Good morning.*for good")
            asked.type(f"{answer}{ENTER}" if answer != CTRL_C else CTRL_C)
            assert asked.status() == status
    assert command("conversation", "list").stdout == ""


def test_delete_deletes(cli: Cli, conversation_id: str) -> None:
    assert cli("conversation", "delete", "--yes", conversation_id).exit_code == 0
    assert cli("conversation", "show", conversation_id).exit_code == 4


def test_delete_tells_scripts_what_it_deleted(cli: Cli, conversation_id: str) -> None:
    ended = cli("conversation", "delete", "--yes", "--json", conversation_id)
    assert (json.loads(ended.stdout), ended.stderr) == ({"id": conversation_id}, "")


def test_messages_are_listed_in_either_order(cli: Cli, conversation_id: str) -> None:
    oldest = cli("message", "list", conversation_id, "--json").stdout.splitlines()
    newest = cli("message", "list", conversation_id, "--json", "--newest", "--limit", "1").stdout.splitlines()
    assert [json.loads(line)["type"] for line in oldest] == ["user", "bot"]
    assert newest == oldest[1:]


def test_messages_are_shown_in_a_table_with_whole_ids(cli: Cli, conversation_id: str, client: Turnwise) -> None:
    shown = cli("message", "list", conversation_id).stdout
    for message in client.conversation.message.list(conversation_id):
        assert message.id in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_wrong_secret_is_status_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNWISE_SECRET", "tw_wrong")
    ended = cli("conversation", "list")
    assert (ended.exit_code, ended.stdout) == (3, "")
    assert "tw_wrong" not in ended.stderr


def test_no_secret_for_a_server_is_status_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURNWISE_SECRET")
    ended = cli("conversation", "list")
    assert ended.exit_code == 3
    assert "TURNWISE_SECRET" in ended.stderr


def test_a_server_that_is_not_there_is_status_1(cli: Cli) -> None:
    ended = cli("conversation", "list", "--base-url", "http://127.0.0.1:1")
    assert ended.exit_code == 1
    assert "Check base_url" in " ".join(ended.stderr.split())
