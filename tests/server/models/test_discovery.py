from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from tests.server.models.upstream import FakeUpstream, Script, Step, Wait, document, failure, reply
from tests.stalls import Stalls

from turnwise.server.models.discovery import USUAL_PORTS, LocalServer, discover

OLLAMA = document(
    {"object": "list", "data": [{"id": "nomic-embed-text:latest"}, {"id": "llama3.2:latest", "owned_by": "library"}]}
)
VLLM = document({"object": "list", "data": [{"id": "qwen", "owned_by": "vllm", "max_model_len": 8192}]})


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_servers_are_found_in_order_with_their_models(closed_port: int) -> None:
    async with FakeUpstream(reply(), models=OLLAMA) as ollama, FakeUpstream(reply(), models=VLLM) as vllm:
        found = await discover({"LM Studio": closed_port, "llama.cpp": vllm.port, "Ollama": ollama.port}, timeout=60)
    assert found == [
        LocalServer(kind="vLLM", base_url=vllm.base_url, models=("qwen",), context_windows={"qwen": 8192}),
        LocalServer(kind="Ollama", base_url=ollama.base_url, models=("llama3.2:latest",), context_windows={}),
    ]
    assert [request.path for request in ollama.requests] == ["/v1/models"]
    assert "authorization" not in ollama.requests[0].headers


@pytest.mark.parametrize(
    "models",
    [
        failure(404, "Not found"),
        document(b"<html>Jenkins</html>", content_type="text/html"),
        document([1, 2, 3]),
        document({"items": []}),
        document({"data": [{"name": "no id"}]}),
        document({"object": "list", "data": []}),
        document({"object": "list", "data": None}),
        document({"object": "list", "data": [{"id": "text-embedding-small"}]}),
        Script([b"SSH-2.0\r\n"], head=False),
        Script([], head=False),
    ],
)
async def test_what_is_no_model_server_with_models_is_passed_over(models: Script) -> None:
    async with FakeUpstream(reply(), models=models) as other:
        assert await discover({"vLLM": other.port}) == []


@pytest.mark.parametrize("end", [[], [Wait(5)]], ids=["cut", "kept open"])
async def test_half_an_answer_is_none(end: list[Step]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    half = Script([head + b'{"data": [{"id": "m"}]}', *end], head=False)
    async with FakeUpstream(reply(), models=half) as other:
        assert await discover({"vLLM": other.port}, timeout=0.1) == []


async def test_a_server_that_keeps_the_connection_is_found_all_the_same() -> None:
    body = b'{"data": [{"id": "m"}]}'
    kept = Script([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body, Wait(5)], head=False)
    async with FakeUpstream(reply(), models=kept) as other:
        (server,) = await discover({"llama.cpp": other.port}, timeout=1)
    assert (server.kind, server.models) == ("llama.cpp", ("m",))


async def test_a_silent_port_costs_the_timeout_and_no_more(stalls: Stalls) -> None:
    silent = Script([Wait(5)])
    async with FakeUpstream(reply(), models=silent) as one, FakeUpstream(reply(), models=silent) as other:
        began = time.monotonic()
        assert await discover({"vLLM": one.port, "Ollama": other.port}, timeout=0.2) == []
        assert time.monotonic() - began < 1.0 + stalls.allowance


async def test_nothing_listening_is_nothing_found(closed_port: int) -> None:
    assert await discover({"Ollama": closed_port}) == []


def test_the_usual_ports_are_asked() -> None:
    assert USUAL_PORTS == {"Ollama": 11434, "LM Studio": 1234, "llama.cpp": 8080, "vLLM": 8000}
