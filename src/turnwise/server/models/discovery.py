"""Finds model servers that run on this machine, on the ports they have unless told otherwise.

Only loopback is asked, all ports at once, and only what answers with a list of models counts: other programs use
these ports too.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from turnwise.server.models.model_list import ListedModel, parse_model_list
from turnwise.server.models.openai_errors import UNREADABLE

__all__ = ["USUAL_PORTS", "LocalServer", "discover"]

HOST: Final = "127.0.0.1"
USUAL_PORTS: Final[Mapping[str, int]] = {"Ollama": 11434, "LM Studio": 1234, "llama.cpp": 8080, "vLLM": 8000}
"""What listens where; also the order of preference."""
OWNERS: Final[Mapping[str, str]] = {
    "library": "Ollama",
    "organization_owner": "LM Studio",
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
}
"""How servers sign the models they list."""
REQUEST: Final = (
    b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
)
LONGEST_ANSWER: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A model server on this machine that has at least one model to talk to."""

    kind: str
    """`Ollama`, `LM Studio`, `llama.cpp` or `vLLM`."""
    base_url: str
    """What OPENAI_BASE_URL would be."""
    models: tuple[str, ...]
    """Models by name, in the server's order, without those that cannot chat."""
    context_windows: Mapping[str, int]
    """Tokens, of the models whose window the server tells."""


async def discover(ports: Mapping[str, int] = USUAL_PORTS, *, timeout: float = 0.3) -> Sequence[LocalServer]:
    """Return the model servers that answer within `timeout` seconds, in the order of `ports`."""
    answers = await asyncio.gather(*(_ask(port, timeout) for port in ports.values()))
    asked = zip(ports.items(), answers, strict=True)
    servers = [_recognise(kind, port, answer) for (kind, port), answer in asked]
    return [server for server in servers if server is not None]


async def _ask(port: int, timeout: float) -> bytes:
    """Return what a port answers, as it came over the wire, as far as it came in time."""
    received = bytearray()
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(REQUEST % port)
                while len(received) < LONGEST_ANSWER and (packet := await reader.read(65536)):
                    received += packet
            finally:
                writer.close()
    except (OSError, TimeoutError):
        pass  # a closed port, or a server that keeps the connection: what was received tells
    return bytes(received)


def _recognise(kind: str, port: int, answer: bytes) -> LocalServer | None:
    try:
        listed = parse_model_list(_body_of(answer))
    except (http.client.HTTPException, *UNREADABLE):
        return None
    models = {name: model for name, model in listed.items() if model.chats}
    if not models:
        return None
    return LocalServer(
        kind=_kind(models, kind),
        base_url=f"http://{HOST}:{port}/v1",
        models=tuple(models),
        context_windows={name: model.window for name, model in models.items() if model.window is not None},
    )


def _body_of(answer: bytes) -> bytes:
    response = http.client.HTTPResponse(cast("socket.socket", _Received(answer)), method="GET")
    response.begin()
    return response.read() if response.status == 200 else b""


class _Received:
    """Bytes that were received, where `http.client` wants the socket to read them from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:  # noqa: ARG002 - a socket's
        return io.BytesIO(self._data)


def _kind(models: Mapping[str, ListedModel], usual: str) -> str:
    owners = (OWNERS.get(model.owned_by or "") for model in models.values())
    return next((owner for owner in owners if owner is not None), usual)
