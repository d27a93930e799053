from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.server.models.upstream import FakeUpstream, Script, document, failure, reply

from turnwise.server.errors import BadRequest, Unavailable
from turnwise.server.models.base import ModelConfig
from turnwise.server.models.openai import DEFAULT_CONTEXT_WINDOW, OpenAIModel
from turnwise.server.models.openai_errors import Endpoint
from turnwise.server.models.registry import (
    OPENAI,
    ModelConfigError,
    ModelRegistry,
    RegistrySettings,
    UnknownModelError,
    endpoint_of,
    parse_model,
)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def registry_of(
    *names: str,
    default: str = "",
    models: Script | Sequence[str] = ("small", "org/large", "llama3.2:latest"),
    context_window: int | None = None,
    clock: Clock | None = None,
) -> AsyncGenerator[tuple[ModelRegistry, FakeUpstream]]:
    async with FakeUpstream(reply("ok"), models=models) as upstream:
        endpoint = Endpoint(base_url=upstream.base_url)
        settings = RegistrySettings(default=default, names=names, endpoint=endpoint, context_window=context_window)
        registry = ModelRegistry(settings, clock=clock or Clock())
        try:
            yield registry, upstream
        finally:
            await registry.aclose()


async def test_without_a_model_server_the_default_is_offline() -> None:
    registry = ModelRegistry()
    assert registry.default == "offline"
    assert registry.names == ("offline",)
    for name in (None, "", "offline"):
        model, config = await registry.resolve(name)
        assert (model.name, config) == ("offline", ModelConfig())


async def test_a_configured_name_is_found_without_asking_the_server() -> None:
    async with registry_of("extra", default="small/temperature=0") as (registry, upstream):
        assert registry.names == ("small", "extra", "offline")
        model, config = await registry.resolve(None)
        assert isinstance(model, OpenAIModel)
        assert (model.name, model.context_window) == ("small", DEFAULT_CONTEXT_WINDOW)
        assert config == ModelConfig(temperature=0)
        assert (await registry.resolve("extra")).model.name == "extra"
        assert (await registry.resolve("offline")).model.name == "offline"
    assert upstream.requests == []


async def test_a_name_the_server_lists_is_found_and_the_list_is_kept_a_minute() -> None:
    clock = Clock()
    async with registry_of(clock=clock) as (registry, upstream):
        model, config = await registry.resolve("org/large/maxTokens=5/seed=0")
        assert (model.name, config) == ("org/large", ModelConfig(max_tokens=5, seed=0))
        assert (await registry.resolve("org/large")).model is model
        assert (await registry.resolve("llama3.2")).model.name == "llama3.2"
        for seconds, asked in ((59.0, 1), (60.0, 2)):
            clock.seconds = seconds
            with pytest.raises(UnknownModelError):
                await registry.resolve("huge")
            assert len(upstream.requests) == asked
    assert upstream.requests[0].path == "/v1/models"


async def test_one_question_answers_all_that_wait_for_it() -> None:
    async with registry_of() as (registry, upstream):
        found = await asyncio.gather(*(registry.resolve("small") for _ in range(10)))
    assert {resolved.model.name for resolved in found} == {"small"}
    assert len(upstream.requests) == 1


async def test_an_unknown_name_is_a_bad_request_that_lists_what_is_configured() -> None:
    async with registry_of() as (registry, _):
        with pytest.raises(UnknownModelError, match=r"no model 'huge'.*offline, small, org/large") as caught:
            await registry.resolve("huge")
    assert isinstance(caught.value, BadRequest)
    with pytest.raises(UnknownModelError, match=r"Configured: offline\. .*OPENAI_BASE_URL"):
        await ModelRegistry().resolve("huge")


async def test_a_long_list_is_shortened_in_the_message() -> None:
    async with registry_of(models=[f"model-{number}" for number in range(100)]) as (registry, _):
        with pytest.raises(UnknownModelError, match="and 81 more"):
            await registry.resolve("huge")


async def test_where_further_names_are_set_the_server_is_not_asked_for_its_own() -> None:
    async with registry_of("extra") as (registry, upstream):
        with pytest.raises(UnknownModelError):
            await registry.resolve("small")
    assert upstream.requests == []


@pytest.mark.parametrize("models", [failure(500), failure(401), document(b"<html>"), document({"data": 5})])
async def test_a_server_that_lists_nothing_has_no_further_names_and_is_asked_again_soon(models: Script) -> None:
    clock = Clock()
    async with registry_of(default="small", models=models, clock=clock) as (registry, upstream):
        for seconds, asked in ((0.0, 1), (4.0, 1), (5.0, 2)):
            clock.seconds = seconds
            with pytest.raises(UnknownModelError, match=r"Configured: small, offline\."):
                await registry.resolve("huge")
            assert len(upstream.requests) == asked


async def test_available_names_are_those_that_can_chat() -> None:
    async with registry_of(models=["small", "nomic-embed-text"]) as (registry, _):
        assert await registry.available() == ("offline", "small")


@pytest.mark.parametrize("window", [{"max_model_len": 4096}, {"context_length": 4096}, {"meta": {"n_ctx": 4096}}])
async def test_the_context_window_is_the_servers_own_where_it_tells(window: dict[str, object]) -> None:
    models = document({"data": [{"id": "small", **window}]})
    async with registry_of(models=models) as (registry, _):
        assert (await registry.resolve("small")).model.context_window == 4096
    async with registry_of(models=models, context_window=9) as (registry, _):
        assert (await registry.resolve("small")).model.context_window == 9


async def test_a_default_without_a_model_server_is_the_operators_mistake() -> None:
    registry = ModelRegistry(RegistrySettings(default="small"))
    with pytest.raises(Unavailable, match=r"TURNWISE_MODEL is 'small'.*OPENAI_BASE_URL"):
        await registry.resolve(None)


@pytest.mark.parametrize(
    "text, config",
    [
        ("m", ModelConfig()),
        ("a/b/c", ModelConfig()),
        (
            "a/b/maxTokens=9/temperature=0/frequencyPenalty=-1.5/presencePenalty=0.5/seed=0/interactionMaxMessages=3/region=eu",
            ModelConfig(
                max_tokens=9,
                temperature=0,
                frequency_penalty=-1.5,
                presence_penalty=0.5,
                seed=0,
                interaction_max_messages=3,
                region="eu",
            ),
        ),
    ],
)
def test_a_model_string_is_a_name_and_a_configuration(text: str, config: ModelConfig) -> None:
    assert parse_model(text) == (text.partition("/max")[0], config)


@pytest.mark.parametrize(
    "text, key",
    [
        ("m/temperature=warm", "temperature"),
        ("m/maxTokens=0", "maxTokens"),
        ("m/maxTokens=1.5", "maxTokens"),
        ("m/interactionMaxMessages=-1", "interactionMaxMessages"),
        ("m/temperature=0/oops", "oops"),
        ("/temperature=0", "name"),
    ],
)
async def test_a_configuration_that_cannot_be_read_names_its_key(text: str, key: str) -> None:
    with pytest.raises(ModelConfigError, match=key):
        await ModelRegistry().resolve(text)


def test_a_key_alone_means_openai() -> None:
    assert endpoint_of("", "") is None
    assert endpoint_of("", "k") == Endpoint(base_url=OPENAI, api_key="k")
    assert endpoint_of("http://x/v1", "") == Endpoint(base_url="http://x/v1", api_key=None)


def test_a_base_url_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="OPENAI_BASE_URL"):
        ModelRegistry(RegistrySettings(endpoint=endpoint_of("localhost:1234", "")))


def test_nothing_heavy_is_imported_before_a_model_is_asked() -> None:
    code = """
import sys
from turnwise.server.models import discovery, registry
registry.ModelRegistry(registry.RegistrySettings(endpoint=registry.endpoint_of("http://127.0.0.1:1/v1", "")))
sys.exit(bool({"aiohttp", "urllib3", "starlette", "sqlalchemy"} & sys.modules.keys()))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
