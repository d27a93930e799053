"""What the page on deployment shows is taken by the programs it is meant for, as far as they are installed."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict, cast

import pytest

from turnwise import ChannelClient, ConversationClient
from turnwise.server.embed import EmbeddedServer, embedded
from turnwise.server.settings import Settings, variable_of
from turnwise.server.storage.postgres_database import PostgresAddress

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "how-to" / "deploy.md").read_text()
KNOWN = {variable_of(setting.name) for setting in dataclasses.fields(Settings)}


class Service(TypedDict):
    environment: dict[str, str]
    command: list[str]
    depends_on: dict[str, dict[str, str]]


class Compose(TypedDict):
    services: dict[str, Service]


def block(language: str, begins: str = "") -> str:
    """The page's first block of a language that begins so."""
    found = re.search(rf"^```{language}\n({re.escape(begins)}.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no block of {language}"
    return found[1]


def options_of_serve(command: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", command))


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    plain = {"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "200"}
    helped = subprocess.run(["turnwise", "serve", "--help"], capture_output=True, text=True, check=True, env=plain)
    return options_of_serve(helped.stdout)


def test_every_variable_on_the_page_is_a_setting() -> None:
    assert set(re.findall(r"\b(?:TURNWISE|OPENAI)_[A-Z_]+\b", PAGE)) - KNOWN == set()


def test_the_unit_starts_the_server_with_options_it_has(known_options: set[str]) -> None:
    command = next(line for line in block("systemd").splitlines() if line.startswith("ExecStart="))
    assert options_of_serve(command) <= known_options


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: systemd has not read the unit")
    unit = tmp_path / "turnwise.service"
    unit.write_text(block("systemd").replace("/srv/turnwise/bin/turnwise", "/bin/true"))
    verified = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in verified.stderr.splitlines() if "turnwise.service" in line] == []


def test_the_compose_file_starts_what_there_is(known_options: set[str]) -> None:
    load = cast("Callable[[str], Compose]", importlib.import_module("yaml").safe_load)
    compose = load(block("yaml"))
    server, migrate = compose["services"]["turnwise"], compose["services"]["migrate"]
    assert set(server["environment"]) <= KNOWN
    assert options_of_serve(" ".join(server["command"])) <= known_options
    assert server["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert migrate["command"] == ["database", "migrate"]
    address = PostgresAddress.of(migrate["environment"]["TURNWISE_DATABASE_URL"])
    assert "POSTGRES_PASSWORD" not in address.label


def test_the_url_for_pgbouncer_names_the_pooler_and_the_way_past_it() -> None:
    found = re.search(r"TURNWISE_DATABASE_URL='(\S+pooler=\S+)'", PAGE)
    assert found is not None
    address = PostgresAddress.of(found[1])
    assert address.pooled
    assert address.listener is not None
    assert "db.example" in address.listener.url
    assert "6432" not in address.listener.url


def test_pgbouncer_listens_where_the_url_says_and_pools_transactions() -> None:
    read = ConfigParser()
    read.read_string(block("ini", "[databases]\n"))
    assert read["pgbouncer"]["listen_addr"] == "*", "without it, PgBouncer listens on a socket of its host alone"
    assert f":{read['pgbouncer']['listen_port']}/turnwise?pooler={read['pgbouncer']['pool_mode']}" in PAGE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'turnwise.db'}", model="offline", discover=False)
    with embedded(settings=settings) as server:
        yield server


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nginx_before(server: EmbeddedServer, folder: Path) -> Generator[str]:
    """An nginx with the page's configuration; its URL."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: its configuration on the page has not been tried")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    site = block("nginx").replace("127.0.0.1:8787", server.url.removeprefix("http://"))
    site = site.replace("listen 8080", f"listen 127.0.0.1:{port}")
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {paths}\n{site} }}\n"
    )
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def test_nginx_hands_a_stream_on_while_it_goes_on(server: EmbeddedServer, tmp_path: Path) -> None:
    name = "a-channel-of-the-tests"
    with (
        nginx_before(server, tmp_path) as url,
        ConversationClient(secret=server.secret, base_url=url) as client,
        ChannelClient(secret=server.secret, base_url=url) as channel,
    ):
        channel.publish(name, message={"said": 0})
        heard: list[object] = []
        with channel.subscribe(name, history_length=1) as events:
            for event in events:
                heard.append(event.data)
                if len(heard) == 3:
                    break
                channel.publish(name, message={"said": len(heard)})
        assert heard == [{"said": 0}, {"said": 1}, {"said": 2}]
        conversation = client.create(backstory="A shop that opens at nine.")
        assert client.complete(conversation.id, text="When do you open?").text
