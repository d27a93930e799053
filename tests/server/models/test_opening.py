from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.server.models.upstream import FakeUpstream, Script, Wait

from turnwise.server.models import opening
from turnwise.server.models.base import ModelError, Prompt
from turnwise.server.models.discovery import LocalServer
from turnwise.server.models.opening import open_models
from turnwise.server.models.registry import ModelRegistry
from turnwise.server.settings import Settings

OLLAMA = LocalServer(
    kind="Ollama",
    base_url="http://127.0.0.1:11434/v1",
    models=("llama3.2:latest", "qwen3:4b"),
    context_windows={"qwen3:4b": 4096},
)
VLLM = LocalServer(kind="vLLM", base_url="http://127.0.0.1:8000/v1", models=("org/large",), context_windows={})


class Loopback:
    """Stands in for the look-up."""

    def __init__(self) -> None:
        self.servers: Sequence[LocalServer] = [OLLAMA, VLLM]
        self.looks = 0

    async def discover(self) -> Sequence[LocalServer]:
        self.looks += 1
        return self.servers


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Loopback:
    loopback = Loopback()
    monkeypatch.setattr(opening, "discover", loopback.discover)
    return loopback


async def opened(settings: Settings) -> tuple[ModelRegistry, list[str]]:
    said: list[str] = []
    return await open_models(settings, say=said.append), said


async def test_where_nothing_is_configured_the_first_local_server_is_used_and_named(loopback: Loopback) -> None:
    registry, said = await opened(Settings())
    assert registry.default == "llama3.2:latest"
    assert said == ["Found Ollama at http://127.0.0.1:11434/v1; using its model llama3.2:latest."]
    await registry.aclose()


@pytest.mark.parametrize(
    "wanted, kind",
    [("llama3.2", "Ollama"), ("qwen3:4b/temperature=0", "Ollama"), ("org/large", "vLLM"), ("org/large/seed=1", "vLLM")],
)
async def test_the_local_server_that_has_the_wanted_model_is_used(loopback: Loopback, wanted: str, kind: str) -> None:
    registry, said = await opened(Settings(model=wanted))
    assert registry.default == wanted
    assert f"Found {kind}" in said[0]
    await registry.aclose()


async def test_the_window_a_local_server_tells_is_used_unless_one_is_set(loopback: Loopback) -> None:
    for settings, window in (
        (Settings(model="qwen3:4b"), 4096),
        (Settings(model="qwen3:4b", context_window=9000), 9000),
    ):
        registry, _ = await opened(settings)
        assert (await registry.resolve(None)).model.context_window == window
        await registry.aclose()


@pytest.mark.parametrize("found", [True, False])
async def test_timeouts_are_those_of_the_settings(loopback: Loopback, found: bool) -> None:
    async with FakeUpstream(Script([Wait(5)])) as upstream:
        loopback.servers = [LocalServer(kind="vLLM", base_url=upstream.base_url, models=("m",), context_windows={})]
        registry, _ = await opened(
            Settings(model="m", openai_base_url="" if found else upstream.base_url, model_idle_timeout=0.05)
        )
        model, config = await registry.resolve(None)
        with pytest.raises(ModelError, match=r"nothing for 0\.05 s\. .*TURNWISE_MODEL_IDLE_TIMEOUT"):
            await anext(model.stream(Prompt(system="", messages=[], config=config)))
        await registry.aclose()


async def test_where_no_local_server_is_found_offline_answers_and_it_is_said_how_to_connect_one(
    loopback: Loopback,
) -> None:
    loopback.servers = []
    registry, said = await opened(Settings())
    assert registry.default == "offline"
    assert "OPENAI_BASE_URL" in said[0]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(model="offline"),
        Settings(model="offline/maxTokens=5"),
        Settings(discover=False),
        Settings(model="m", openai_base_url="http://127.0.0.1:1/v1"),
        Settings(openai_api_key="k"),
    ],
)
async def test_nothing_is_looked_for_where_it_is_turned_off_or_not_needed(
    loopback: Loopback, settings: Settings
) -> None:
    registry, _ = await opened(settings)
    assert loopback.looks == 0
    assert registry.default == (settings.model or "offline")
    await registry.aclose()


@pytest.mark.parametrize("base_url", ["", "http://127.0.0.1:1/v1"])
async def test_a_default_model_that_cannot_be_read_is_refused_at_the_start(loopback: Loopback, base_url: str) -> None:
    with pytest.raises(ValueError, match=r"TURNWISE_MODEL: .*temperature"):
        await opened(Settings(model="m/temperature=warm", openai_base_url=base_url))


async def test_the_first_model_of_a_server_that_was_named_is_used_where_none_is_set() -> None:
    async with FakeUpstream(models=("first", "second")) as upstream:
        registry, said = await opened(Settings(openai_base_url=upstream.base_url))
        assert registry.default == "first"
        assert said == [f"TURNWISE_MODEL is not set; using the model first of {upstream.base_url}."]
        await registry.aclose()


@pytest.mark.parametrize("settings", [Settings(openai_api_key="k"), Settings(openai_base_url="http://127.0.0.1:9/v1")])
async def test_without_a_model_to_be_known_the_offline_one_answers_and_says_so(settings: Settings) -> None:
    registry, said = await opened(settings)
    assert registry.default == "offline"
    assert said == [
        "TURNWISE_MODEL is not set, so the model `offline` answers. Set it to a model of the configured server."
    ]
    await registry.aclose()
