"""A deployment moves from SQLite to PostgreSQL and back, as its programs see it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.server.postgres import PostgresServer

from turnwise import Turnwise

COMMAND = (sys.executable, "-m", "turnwise")
SECRET = "tw_secret_that_moves_along_with_everything_else"


@contextmanager
def served(database: str) -> Generator[str]:
    """Run a server; return its URL."""
    command = [*COMMAND, "serve", "--port", "0", "--model", "offline", "--no-discover", "--database", database]
    environment = {**os.environ, "TURNWISE_SECRET": SECRET}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=30)


def moved(source: str, target: str) -> None:
    done = subprocess.run([*COMMAND, "database", "copy", source, target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_programs_go_on_after_a_move_and_after_the_way_back(postgres: PostgresServer, tmp_path: Path) -> None:
    places = [f"sqlite:///{tmp_path / 'here.db'}", postgres.database(), f"sqlite:///{tmp_path / 'back.db'}"]
    with served(places[0]) as url, Turnwise(secret=SECRET, base_url=url) as client:
        conversation = client.conversation.create(name="moves", meta={"plan": "pro"}, backstory="We open at nine.")
        client.conversation.complete(conversation.id, text="When do you open?")
        token = client.conversation.session.create(conversation.id, duration_in_seconds=900).token
        said = [message.to_dict() for message in client.conversation.message.list(conversation.id)]
        assert len(said) == 2
    for before, place in pairwise(places):
        moved(before, place)
        with served(place) as url, Turnwise(secret=SECRET, base_url=url) as client:
            found = list(client.conversation.list(meta={"plan": "pro"}))
            assert [(each.id, each.name, each.backstory) for each in found] == [
                (conversation.id, "moves", "We open at nine.")
            ]
            kept = [message.to_dict() for message in client.conversation.message.list(conversation.id)]
            assert kept[: len(said)] == said
            with Turnwise(secret=token, base_url=url) as visitor:
                visitor.conversation.complete(conversation.id, text="And on Sundays?")
            said = [message.to_dict() for message in client.conversation.message.list(conversation.id)]
            assert len(said) == len(kept) + 2
            new = client.conversation.create(name="made here")
            assert client.conversation.fetch(new.id).name == "made here"
            client.conversation.delete(new.id)
