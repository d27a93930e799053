"""Everything about a server that can be set.

A setting is read once, from the first place that has it: a flag of the command, an environment variable, the file
that `TURNWISE_CONFIG` names (TOML, the settings' names as keys), the default. The variable is `TURNWISE_` and the
setting's name in capitals, but for `openai_base_url` and `openai_api_key`, which are read from `OPENAI_BASE_URL` and
`OPENAI_API_KEY` as other programs do. Lists are separated by commas. Empty variables count as not set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from turnwise.server.log import LogFormat, LogLevel

__all__ = ["Settings", "SettingsError", "default_database_url", "load_settings", "variable_of"]

OWN_VARIABLES: Final = {"openai_base_url": "OPENAI_BASE_URL", "openai_api_key": "OPENAI_API_KEY"}
CONFIG_VARIABLE: Final = "TURNWISE_CONFIG"

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Limit = Annotated[int, Meta(ge=0)]


class SettingsError(ValueError):
    """A setting has a value that cannot be; the message names it and where it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server."""

    host: str = "127.0.0.1"
    """The address to listen on. `0.0.0.0` is every address of the machine."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8787
    """The port to listen on; 0 is any free one."""
    workers: Count = 1
    """How many processes serve on the port; more than one need PostgreSQL."""
    database_url: str = ""
    """The database, such as `sqlite:////var/lib/turnwise/turnwise.db`. The default is in the user's data folder."""
    migrate: bool = True
    """Whether a starting server makes or upgrades the tables of its database; else `turnwise database migrate` does."""
    secret: str = field(default="", repr=False)
    """A secret for the account `default`. Without one, the first start makes a secret and prints it once."""
    cors_origins: tuple[str, ...] = ("*",)
    """The origins whose pages may read answers, such as `https://shop.example`; `*` is every origin."""

    model: str = ""
    """The model of conversations that name none, with its configuration: `gpt-5-mini/temperature=0`."""
    models: tuple[str, ...] = ()
    """Further models that conversations may name. Where it is empty, those that the model server lists."""
    openai_base_url: str = ""
    """An OpenAI-compatible model server, such as `http://127.0.0.1:11434/v1`."""
    openai_api_key: str = field(default="", repr=False)
    """The key for the model server, where it wants one."""
    discover: bool = True
    """Whether to look for a local model server on loopback where none is configured."""

    context_window: Annotated[int, Meta(ge=0)] = 0
    """Tokens that prompt and reply may have together, for every model of the server; 0 is what the server says."""
    model_connect_timeout: Seconds = 10.0
    """Seconds in which the model server must take a connection; later is 504."""
    model_idle_timeout: Seconds = 300.0
    """Seconds that the model server may be silent, before its reply and within it; later is 504."""

    body_bytes: Count = 4_500_000
    """Bytes that a request's body may have; more is 413."""
    body_timeout: Seconds = 30.0
    """Seconds in which a request's body must arrive; later is 408."""
    header_timeout: Seconds = 10.0
    """Seconds in which a request's headers must arrive, from its first byte; later is 408."""
    idle_timeout: Seconds = 75.0
    """Seconds that a connection without a request is kept."""
    turn_timeout: Seconds = 60.0
    """Seconds that a reply waits for the one before it in the same conversation; later is 409."""
    function_timeout: Seconds = 120.0
    """Seconds that a called function may take to publish its result; later the model is told that it did not answer."""
    max_iterations: Count = 25
    """How often a model is asked in one completion at most; a request's `limits` can only lower it."""
    max_continuations: Count = 5
    """How often a reply that its length cut is gone on with in one completion at most, likewise."""
    max_calls: Count = 100
    """How many functions a model may call in one completion at most, likewise."""
    max_dispatches: Count = 1_000
    """How many dispatched turns run at once; further ones wait."""
    max_account_dispatches: Count = 100
    """Likewise of one account."""
    max_account_requests: Limit = 60_000
    """Requests of an account in any minute, over all servers on its database; more is 429. 0 is without limit."""
    max_account_messages: Limit = 30_000
    """Likewise messages that requests store; the bot's own are not counted."""
    max_account_tokens: Limit = 10_000_000
    """Likewise tokens that models read and write: a turn that began ends, the next one is 429."""
    max_account_turns: Limit = 1_000
    """Turns of an account that run at once, over all servers; more is 429, but dispatched ones wait."""
    max_session_requests: Limit = 300
    """Requests with one session token in any minute. They count for its account too, as the following do."""
    max_session_messages: Limit = 60
    """Likewise messages."""
    max_session_tokens: Limit = 200_000
    """Likewise tokens."""
    max_session_turns: Limit = 4
    """Turns of one session token that run at once."""
    grace: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds that running replies may take to end once the server was told to stop."""
    drain_delay: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds that a server that was told to stop still takes connections, while `/readyz` says that it stops."""
    ping_interval: Seconds = 10.0
    """Seconds of silence in a stream after which a `ping` goes out."""
    purge_interval: Seconds = 30.0
    """Seconds between two looks for what expired and can be removed from disk."""

    log_format: LogFormat = "text"
    """How log lines are written, `text` (`key=value`) or `json`."""
    log_level: LogLevel = "info"
    """What is logged: `info` is every request, `warning` only what is out of order."""

    @property
    def database(self) -> str:
        """The database's URL, the default resolved."""
        return self.database_url or default_database_url()


def default_database_url() -> str:
    """Return the URL of the database in the user's data folder."""
    import platformdirs

    path = Path(platformdirs.user_data_dir("turnwise", appauthor=False)) / "turnwise.db"
    return f"sqlite:///{path}"


def variable_of(setting: str) -> str:
    """Return the environment variable that a setting is read from."""
    return OWN_VARIABLES.get(setting, f"TURNWISE_{setting.upper()}")


def load_settings(flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. `flags` win; a flag that is `None` was not given. Raises `SettingsError`."""
    environ = os.environ if environ is None else environ
    values = _read_file(environ.get(CONFIG_VARIABLE, ""))
    sources = {name: f"{environ.get(CONFIG_VARIABLE)}: {name}" for name in values}
    for setting in fields(Settings):
        if text := environ.get(variable_of(setting.name)):
            values[setting.name] = text
            sources[setting.name] = variable_of(setting.name)
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = value
            sources[name] = name
    return _convert(values, sources)


def _convert(values: Mapping[str, object], sources: Mapping[str, str]) -> Settings:
    converted: dict[str, object] = {}
    known = {setting.name for setting in fields(Settings)}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"{sources[name]}: there is no such setting. There are {', '.join(sorted(known))}.")
        if name in {"cors_origins", "models"} and isinstance(value, str):
            converted[name] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            converted[name] = value
    try:
        return msgspec.convert(converted, Settings, strict=False)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`").partition("[")[0]
        raise SettingsError(f"{sources.get(name, name)}: {problem}.") from None


def _read_file(path: str) -> dict[str, object]:
    if not path:
        return {}
    import tomllib

    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{CONFIG_VARIABLE}: the file {path} cannot be read: {error}.") from None
