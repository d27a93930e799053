"""Finds model servers that run on this machine, on the ports they have unless told otherwise.

Only loopback is asked, all ports at once, and only what answers with a list of models counts: other programs use
these ports too.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from turnwise.server.models.model_list import ListedModel, parse_model_list

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
LONGEST_LIST: Final = 1 << 20


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
    looks = [asyncio.to_thread(_look, kind, port, timeout) for kind, port in ports.items()]
    return [server for server in await asyncio.gather(*looks) if server is not None]


def _look(kind: str, port: int, timeout: float) -> LocalServer | None:
    try:
        listed = parse_model_list(_get(port, timeout))
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
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


def _get(port: int, timeout: float) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/v1/models", headers={"Accept": "application/json", "Connection": "close"})
        response = connection.getresponse()
        return response.read(LONGEST_LIST) if response.status == 200 else b""
    finally:
        connection.close()


def _kind(models: Mapping[str, ListedModel], usual: str) -> str:
    owners = (OWNERS.get(model.owned_by or "") for model in models.values())
    return next((owner for owner in owners if owner is not None), usual)
