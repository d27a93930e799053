"""Which models there are, by the names conversations use.

`offline` is always there. Where a model server is configured, so are the default model, the further names of the
settings, and, where the settings have no further names, every model the server lists.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from turnwise.server.errors import BadRequest, Unavailable
from turnwise.server.models.base import Model, ModelConfig, ModelError, ResolvedModel
from turnwise.server.models.model_list import ListedModel
from turnwise.server.models.offline import NAME as OFFLINE
from turnwise.server.models.offline import OfflineModel
from turnwise.server.models.openai import DEFAULT_CONTEXT_WINDOW, OpenAIModel, OpenAIServer, Patience
from turnwise.server.models.openai_errors import Endpoint
from turnwise.types import model as wire

__all__ = [
    "OPENAI",
    "ModelConfigError",
    "ModelRegistry",
    "RegistrySettings",
    "ResolvedModel",
    "UnknownModelError",
    "default_name",
    "endpoint_of",
    "parse_model",
]

OPENAI: Final = "https://api.openai.com/v1"
LISTED_FOR: Final = 60.0
UNLISTED_FOR: Final = 5.0
"""Seconds after which a server that did not list its models is asked again."""
LIST_TIMEOUT: Final = 5.0
MOST_NAMES: Final = 20


class UnknownModelError(BadRequest):
    """A model's name that is not configured; the message lists those that are."""


class ModelConfigError(BadRequest):
    """A model's string that cannot be read; the message names the setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What is configured."""

    default: str = ""
    """The model of conversations that name none, with its configuration; `offline` where this is empty."""
    names: tuple[str, ...] = ()
    """Further models of the server that conversations may name. Where it is empty, those that the server lists."""
    endpoint: Endpoint | None = None
    """The model server (`endpoint_of`)."""
    context_window: int | None = None
    """Tokens that prompt and reply may have together: for every model of the server, whatever it says itself."""
    context_windows: Mapping[str, int] = field(default_factory=dict[str, int])
    """The same for single models, by name; it wins."""
    patience: Patience = field(default_factory=Patience)
    offline_delay: float = 0.0
    """Seconds before each word of the offline model."""


def endpoint_of(base_url: str, api_key: str) -> Endpoint | None:
    """Return the model server that OPENAI_BASE_URL and OPENAI_API_KEY mean: a key alone means OpenAI's."""
    if not base_url and not api_key:
        return None
    return Endpoint(base_url=base_url.strip() or OPENAI, api_key=api_key.strip() or None)


def default_name(model: str) -> str:
    """Return the name in the default model's string; `offline` where it is empty.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        return parse_model(model or OFFLINE).name
    except ModelConfigError as error:
        raise ValueError(f"TURNWISE_MODEL: {error.message}") from None


class ModelRegistry:
    """Finds models by name; holds the connections to the model server until `aclose`.

    Raises:
        ValueError: the endpoint's base URL is none, or the default model's string cannot be read.
    """

    def __init__(
        self, settings: RegistrySettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings or RegistrySettings()
        self._clock = clock
        self._default_name = default_name(self._settings.default)
        endpoint = self._settings.endpoint
        self._server = OpenAIServer(endpoint, patience=self._settings.patience) if endpoint is not None else None
        self._models: dict[str, Model] = {OFFLINE: OfflineModel(delay=self._settings.offline_delay)}
        self._listed: Mapping[str, ListedModel] = {}
        self._listed_until = float("-inf")
        self._listing = asyncio.Lock()

    @property
    def default(self) -> str:
        """The model string of conversations that name none."""
        return self._settings.default or OFFLINE

    @property
    def names(self) -> tuple[str, ...]:
        """The names known without asking the model server, the default's first."""
        further = self._settings.names if self._server is not None else ()
        return tuple(dict.fromkeys((self._default_name, *further, *self._models)))

    async def resolve(self, model: str | None) -> ResolvedModel:
        """Return the model that a conversation's `model` means; the default for `None` or nothing.

        Raises:
            UnknownModelError: there is no such model; it says which there are.
            ModelConfigError: the configuration cannot be read; it names the setting.
            Unavailable: the default model needs a model server, and none is configured.
        """
        name, config = parse_model(model or self.default)
        found = self._models.get(name)
        return ResolvedModel(found if found is not None else await self._find(name), config)

    async def available(self) -> tuple[str, ...]:
        """Return the names that `resolve` finds, those that the model server lists included."""
        listed = await self._list()
        return tuple(dict.fromkeys((*self.names, *(name for name, model in listed.items() if model.chats))))

    async def aclose(self) -> None:
        """Close the connections to the model server."""
        if self._server is not None:
            await self._server.aclose()

    async def _find(self, name: str) -> Model:
        if self._server is None:
            raise self._without_server(name)
        listed = self._listed if name in self.names else await self._list()
        if name not in self.names and name not in listed and f"{name}:latest" not in listed:
            raise self._unknown(name)
        model = OpenAIModel(name, self._server, context_window=self._window(name, listed))
        self._models[name] = model
        return model

    async def _list(self) -> Mapping[str, ListedModel]:
        """Return the server's models, unless the settings name those to use."""
        if self._server is None or self._settings.names:
            return {}
        async with self._listing:
            if self._clock() >= self._listed_until:
                listed = await _models_of(self._server)
                self._listed = listed or {}
                self._listed_until = self._clock() + (UNLISTED_FOR if listed is None else LISTED_FOR)
            return self._listed

    def _window(self, name: str, listed: Mapping[str, ListedModel]) -> int:
        settings = self._settings
        model = listed.get(name) or listed.get(f"{name}:latest")
        own = model.window if model is not None else None
        return settings.context_windows.get(name) or settings.context_window or own or DEFAULT_CONTEXT_WINDOW

    def _unknown(self, name: str) -> UnknownModelError:
        names = list(dict.fromkeys([*self.names, *(name for name, model in self._listed.items() if model.chats)]))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return UnknownModelError(
            f"There is no model {name!r}. Configured: {', '.join(names[:MOST_NAMES])}{more}. Use one of these, or let "
            "the server's operator add it to TURNWISE_MODELS."
        )

    def _without_server(self, name: str) -> UnknownModelError | Unavailable:
        hint = "No model server is configured: set OPENAI_BASE_URL, or OPENAI_API_KEY, and start the server again."
        if name == self._default_name:
            return Unavailable(f"TURNWISE_MODEL is {name!r}, but no model server has it. {hint}")
        return UnknownModelError(f"There is no model {name!r}. Configured: {OFFLINE}. {hint}")


async def _models_of(server: OpenAIServer) -> Mapping[str, ListedModel] | None:
    try:
        async with asyncio.timeout(LIST_TIMEOUT):
            return await server.models()
    except (ModelError, TimeoutError):
        return None


class ParsedModel(NamedTuple):
    """A model's string, taken apart."""

    name: str
    config: ModelConfig


@lru_cache(maxsize=1024)
def parse_model(text: str) -> ParsedModel:
    """Read `name/key=value/...`.

    Raises:
        ModelConfigError: it cannot be read.
    """
    try:
        model = wire.Model.parse(text)
        given = msgspec.structs.asdict(model.config)
    except ValueError as error:
        raise ModelConfigError(f"{error}.") from error
    config = ModelConfig(**{key: value for key, value in given.items() if value is not msgspec.UNSET})
    for key, value in (("maxTokens", config.max_tokens), ("interactionMaxMessages", config.interaction_max_messages)):
        if value is not None and value < 1:
            raise ModelConfigError(f"the model {text!r} has {key}={value} where at least 1 was expected.")
    return ParsedModel(model.name, config)
