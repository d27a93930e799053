from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, Command

from turnwise import Turnwise


def serve(database: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--model", "offline", "--database", database],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_server_answers_with_the_secret_it_printed_until_it_is_told_to_stop(
    tmp_path: Path, ended_by: signal.Signals
) -> None:
    with serve(f"sqlite:///{tmp_path / 'served.db'}") as process:
        assert process.stdout is not None
        listening = re.fullmatch(r"listening on (http://\S+)\n", process.stdout.readline())
        assert listening is not None
        process.send_signal(ended_by)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(rf"TURNWISE_SECRET=tw_\S+ turnwise chat --base-url {listening[1]}", told)


def test_a_secret_made_beside_a_running_server_opens_it(tmp_path: Path, command: Command) -> None:
    database = f"sqlite:///{tmp_path / 'served.db'}"
    with serve(database) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        made = command("secret", "create", "--account", "shop", "--database", database)
        with Turnwise(secret=made.stdout.strip(), base_url=url) as client:
            assert client.conversation.list().items == []
        said = command("chat", "--base-url", url, input="Hi\n", TURNWISE_SECRET=made.stdout.strip())
        process.terminate()
        process.communicate(timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("Hello!")
