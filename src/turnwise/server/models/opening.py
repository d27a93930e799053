"""Which models a server starts with: those that are configured, those found on this machine, or `offline` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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

    Where a model server is configured by its address and no model is, the server's first one is used. Where no server
    is configured, local ones are looked for, unless the settings say not to, or that the model is `offline`.

    Raises:
        ValueError: the default model's string cannot be read, or OPENAI_BASE_URL is no URL.
    """
    endpoint = endpoint_of(settings.openai_base_url, settings.openai_api_key)
    context_window = settings.context_window or None
    patience = Patience(connect=settings.model_connect_timeout, idle=settings.model_idle_timeout)
    if endpoint is not None:
        configured = RegistrySettings(
            default=settings.model,
            names=settings.models,
            endpoint=endpoint,
            context_window=context_window,
            patience=patience,
        )
        return ModelRegistry(configured if settings.model else await _with_default(configured, settings, say))
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


async def _with_default(
    configured: RegistrySettings, settings: Settings, say: Callable[[str], None]
) -> RegistrySettings:
    """Let conversations that name no model have the first one of a server that was named; say which."""
    registry = ModelRegistry(configured)
    try:
        names = [name for name in await registry.available() if name != OFFLINE] if settings.openai_base_url else []
    finally:
        await registry.aclose()
    if not names:
        say("TURNWISE_MODEL is not set, so the model `offline` answers. Set it to a model of the configured server.")
        return configured
    say(f"TURNWISE_MODEL is not set; using the model {names[0]} of {settings.openai_base_url}.")
    return replace(configured, default=names[0])


def _choose(servers: Sequence[LocalServer], wanted: str) -> Choice | None:
    """Return the first server that has the wanted model; any server where none is wanted."""
    if not wanted:
        return Choice(servers[0], servers[0].models[0]) if servers else None
    name = default_name(wanted)
    having = (server for server in servers if {name, f"{name}:latest"} & set(server.models))
    return next((Choice(server, wanted) for server in having), None)
