"""Which models a server starts with: those that are configured, those found on this machine, or `offline` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turnwise.server.models.discovery import LocalServer, discover
from turnwise.server.models.offline import NAME as OFFLINE
from turnwise.server.models.openai import Patience
from turnwise.server.models.registry import ModelRegistry, RegistrySettings, default_name, endpoint_of
from turnwise.server.settings import Settings

__all__ = ["open_models"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A local model server, and the model of it to use."""

    server: LocalServer
    model: str


async def open_models(settings: Settings, *, say: Callable[[str], None]) -> ModelRegistry:
    """Return the models that the settings name. `say` is told, in a sentence, which model was found or is missing.

    Where no model server is configured, local ones are looked for, unless the settings say not to, or that the model
    is `offline`.

    Raises:
        ValueError: the default model's string cannot be read, or OPENAI_BASE_URL is no URL.
    """
    endpoint = endpoint_of(settings.openai_base_url, settings.openai_api_key)
    context_window = settings.context_window or None
    patience = Patience(connect=settings.model_connect_timeout, idle=settings.model_idle_timeout)
    if endpoint is not None:
        return ModelRegistry(
            RegistrySettings(
                default=settings.model,
                names=settings.models,
                endpoint=endpoint,
                context_window=context_window,
                patience=patience,
            )
        )
    offline = settings.model != "" and default_name(settings.model) == OFFLINE
    choice = _choose(await discover(), settings.model) if settings.discover and not offline else None
    if choice is not None:
        say(f"Found {choice.server.kind} at {choice.server.base_url}; using its model {choice.model}.")
        return ModelRegistry(
            RegistrySettings(
                default=choice.model,
                names=settings.models,
                endpoint=endpoint_of(choice.server.base_url, ""),
                context_window=context_window,
                context_windows={} if context_window else choice.server.context_windows,
                patience=patience,
            )
        )
    if not settings.model:
        say("No model server is configured or found; the model `offline` answers. Set OPENAI_BASE_URL to connect one.")
    return ModelRegistry(RegistrySettings(default=settings.model, names=settings.models))


def _choose(servers: Sequence[LocalServer], wanted: str) -> Choice | None:
    """Return the first server that has the wanted model; any server where none is wanted."""
    if not wanted:
        return Choice(servers[0], servers[0].models[0]) if servers else None
    name = default_name(wanted)
    having = (server for server in servers if {name, f"{name}:latest"} & set(server.models))
    return next((Choice(server, wanted) for server in having), None)
