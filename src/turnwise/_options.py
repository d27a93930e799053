"""What a client is made with, and the request that a call becomes under it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import quote, quote_plus, urlsplit

import msgspec

from turnwise import __version__
from turnwise._call import Exchange, Timeout
from turnwise._retry import RetryPolicy
from turnwise._transport.base import AsyncTransport, Transport, WireRequest
from turnwise.types._base import OMIT, Omit

if TYPE_CHECKING:
    from typing import Self, Unpack

    import aiohttp
    import urllib3

__all__ = [
    "DEFAULT_BASE_URL",
    "HOSTED",
    "ClientOptions",
    "OptionChanges",
    "Secret",
    "build",
    "policy_of",
    "timeout_of",
]

DEFAULT_BASE_URL = "https://api.chatbotkit.com"
HOSTED = "api.chatbotkit.com"
"""The one host whose paths lack the leading `/api`, and which does not know `Idempotency-Key`."""
PATIENCE = 600.0


class Secret(str):
    """A secret or token: a string whose repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"


class OptionChanges(TypedDict, total=False):
    """Everything a client is made with; what is left out keeps its default, or its present value."""

    secret: str | None
    base_url: str | None
    host: str | None
    protocol: str | None
    endpoints: Mapping[str, str] | None
    run_as_user_id: str | None
    run_as_child_user_email: str | None
    timezone: str | None
    headers: Mapping[str, str] | None
    timeout: float | Timeout | None | Omit
    retries: int
    retry_delay: float
    retry_timeout: bool
    retry_unsafe: bool
    http_client: urllib3.PoolManager | aiohttp.ClientSession | Transport | AsyncTransport | None


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """What a client is made with. Times are in seconds.

    Raises:
        ValueError: an option cannot be sent or makes no sense; the message names it, and never shows a secret.
    """

    secret: Secret | None = None
    """The account's secret or a session token; without one, `TURNWISE_SECRET` or `CHATBOTKIT_API_SECRET`."""
    base_url: str = DEFAULT_BASE_URL
    """Scheme, host and port of the server; its path is not used. Without one, `TURNWISE_BASE_URL`."""
    endpoints: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other paths (or whole addresses) by path or path template, such as `/api/v1/conversation/list`."""
    run_as_user_id: str | None = None
    run_as_child_user_email: str | None = None
    timezone: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Sent with every request; the client's own headers win over them."""
    timeout: float | Timeout | None | Omit = OMIT
    """A number bounds each attempt as a whole. Without one: connect 10, idle 60 (600 while a model works)."""
    retries: int = 3
    retry_delay: float = 0.25
    """Before the first repetition; doubled before each further one."""
    retry_timeout: bool = True
    """Whether what took too long is tried again."""
    retry_unsafe: bool = False
    """Whether a POST of unknown fate is repeated even where the server does not know `Idempotency-Key`."""
    http_client: urllib3.PoolManager | aiohttp.ClientSession | Transport | AsyncTransport | None = field(
        default=None, repr=False
    )

    def __post_init__(self) -> None:
        _check_origin(self.base_url)
        for name, value in self.common_headers.items():
            if not (value.isascii() and value.isprintable()) or not _is_token(name):
                raise ValueError(f"the header {name!r} holds characters that cannot be sent: use printable ASCII")
        if self.retries < 0 or self.retry_delay < 0:
            raise ValueError("retries and retry_delay cannot be negative: use 0 to switch them off")
        _ = _limits(self.timeout, patient=False)

    @classmethod
    def of(cls, **given: Unpack[OptionChanges]) -> Self:
        """Return options from a constructor's arguments, the environment filling in secret and base URL."""
        if given.get("secret") is None:
            given["secret"] = os.environ.get("TURNWISE_SECRET") or os.environ.get("CHATBOTKIT_API_SECRET")
        if given.get("base_url") is None:
            given["base_url"] = os.environ.get("TURNWISE_BASE_URL")
        return cls().extend(**given)

    def extend(self, **changes: Unpack[OptionChanges]) -> Self:
        """Return a copy with `changes`; `endpoints` and `headers` are merged key by key."""
        values: dict[str, object] = dict(changes)
        host, protocol = values.pop("host", None), values.pop("protocol", None)
        _refuse_unknown(values)
        base_url = values.get("base_url") or self.base_url
        values["base_url"] = _with_parts(cast("str", base_url), cast("str | None", host), cast("str | None", protocol))
        if "secret" in values:
            values["secret"] = Secret(values["secret"]) if values["secret"] else None
        for name in ("endpoints", "headers"):
            if name in values:
                values[name] = {**getattr(self, name), **cast("Mapping[str, str]", values[name] or {})}
        return replace(self, **values)  # type: ignore[arg-type]

    @cached_property
    def origin(self) -> str:
        """Scheme, host and port of `base_url`."""
        return _origin(self.base_url)

    @cached_property
    def common_headers(self) -> dict[str, str]:
        """The headers of every request, names in lower case."""
        headers = {"accept": "*/*", "user-agent": f"turnwise/{__version__}"}
        headers |= {name.lower(): value for name, value in self.headers.items()}
        own = {
            "authorization": f"Bearer {self.secret}" if self.secret else None,
            "x-runas-user-id": self.run_as_user_id,
            "x-runas-child-user-email": self.run_as_child_user_email,
            "x-timezone": self.timezone,
        }
        return headers | {name: value for name, value in own.items() if value}

    @cached_property
    def external_headers(self) -> dict[str, str]:
        """The headers of a request that leaves for somebody else."""
        private = ("authorization", "x-runas-user-id", "x-runas-child-user-email")
        return {name: value for name, value in self.common_headers.items() if name not in private}


def _refuse_unknown(values: Mapping[str, object]) -> None:
    known = [option.name for option in fields(ClientOptions)]
    for name in values:
        if name not in known:
            from difflib import get_close_matches

            nearest = get_close_matches(name, [*known, "host", "protocol"], 1, 0)
            raise TypeError(f"there is no option {name!r}; did you mean {nearest[0]!r}?")


def build(options: ClientOptions, exchange: Exchange, *, stream: bool = False) -> WireRequest:
    """Return the request that `exchange` becomes under `options`.

    What the call says in `extra_headers`, `extra_query` and `extra_body` wins over everything else.
    """
    extra = exchange.options
    origin, target = _address(options, exchange)
    external = exchange.external or origin != options.origin
    headers = (options.external_headers if external else options.common_headers).copy()
    if stream:
        headers["accept"] = "application/jsonl"
    body = _body(exchange, extra.get("extra_body"))
    if body is not None:
        headers["content-type"] = exchange.content_type if exchange.content is not None else "application/json"
    if exchange.method == "POST":
        # 128 random bits, made once: every repetition of this request carries the same key.
        headers["idempotency-key"] = os.urandom(16).hex()
    if "extra_headers" in extra:
        headers |= {name.lower(): value for name, value in extra["extra_headers"].items()}
    if (exchange.query or "extra_query" in extra) and (query := _query(exchange.query, extra.get("extra_query"))):
        target = f"{target}{'&' if '?' in target else '?'}{query}"
    return WireRequest(method=exchange.method, origin=origin, target=target, headers=headers, body=body)


def timeout_of(options: ClientOptions, exchange: Exchange, *, stream: bool = False) -> Timeout:
    """Return the time limits of a call: its own, else the client's, else the default ones."""
    own = exchange.options.get("timeout", options.timeout)
    return _limits(own, patient=exchange.patient and not stream)


def policy_of(options: ClientOptions, exchange: Exchange, request: WireRequest) -> RetryPolicy:
    """Return when to try this call again."""
    safe = request.method in {"GET", "HEAD"} or options.retry_unsafe
    repeatable = safe or (request.origin == options.origin and not _is_hosted(request.origin))
    return _policy(
        exchange.options.get("retries", options.retries), options.retry_delay, options.retry_timeout, repeatable
    )


@lru_cache(maxsize=64)
def _policy(retries: int, delay: float, timeouts: bool, repeatable: bool) -> RetryPolicy:  # noqa: FBT001 - a cache's key
    return RetryPolicy(retries=retries, delay=delay, timeouts=timeouts, repeatable=repeatable)


DEFAULT_LIMITS = Timeout()
PATIENT_LIMITS = Timeout(idle=PATIENCE)
NO_LIMITS = Timeout(connect=None, idle=None)


def _limits(timeout: float | Timeout | None | Omit, *, patient: bool) -> Timeout:
    if timeout is OMIT:
        return PATIENT_LIMITS if patient else DEFAULT_LIMITS
    if timeout is None:
        return NO_LIMITS
    if not isinstance(timeout, Timeout):
        timeout = Timeout(idle=None, total=timeout)
    if any(limit is not None and not limit > 0 for limit in (timeout.connect, timeout.idle, timeout.total)):
        raise ValueError("a time limit must be more than 0 seconds: use None for no limit")
    return timeout


def _address(options: ClientOptions, exchange: Exchange) -> tuple[str, str]:
    path = fill(exchange.path, exchange.ids) if exchange.ids else exchange.path
    endpoints = options.endpoints
    if endpoints:
        other = endpoints.get(exchange.template or exchange.path) or endpoints.get(path)
        if other:
            path = fill(other, exchange.ids) if "{" in other else other
    origin = options.origin
    if not path.startswith("/"):
        origin, path = _split(origin, path)
    if path.startswith("/api/") and _is_hosted(origin):
        path = path[4:]
    return origin, path


def _split(origin: str, path: str) -> tuple[str, str]:
    if "://" not in path:
        return origin, f"/{path}"
    _check_origin(path)
    other = _origin(path)
    parts = urlsplit(path)
    return other, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@lru_cache(maxsize=256)
def _pieces(template: str) -> tuple[str, tuple[str, ...]]:
    first, *rest = template.split("{")
    return first, tuple(piece.partition("}")[2] for piece in rest)


def fill(template: str, ids: tuple[str, ...]) -> str:
    """Put `ids`, percent-encoded, into the braces of `template`.

    Raises:
        ValueError: an id is empty, or a dot segment, which would make it another path.
    """
    first, rest = _pieces(template)
    path = first
    for value, piece in zip(ids, rest, strict=True):
        if value in {"", ".", ".."}:
            raise ValueError(f"an id cannot be {value!r}: pass the id that create or list answered")
        # Asking is a tenth of quoting, and the server's own ids need none.
        path += (value if value.isalnum() and value.isascii() else quote(value, safe="")) + piece
    return path


def _body(exchange: Exchange, extra: Mapping[str, object] | None) -> bytes | None:
    if exchange.content is not None:
        return exchange.content
    body = exchange.body
    if extra:
        body = {**cast("dict[str, object]", msgspec.to_builtins({} if body is None else _present(body))), **extra}
    return None if body is None else msgspec.json.encode(_present(body))


def _present(body: object) -> object:
    """A mapping without what is `OMIT`; a Struct leaves it out by itself."""
    if isinstance(body, Mapping):
        return {key: value for key, value in cast("Mapping[str, object]", body).items() if value is not OMIT}
    return body


def _query(query: Mapping[str, object], extra: Mapping[str, object] | None) -> str:
    pairs = _flat(query)
    if extra:
        pairs |= _flat(extra)
    return "&".join(f"{_form(name)}={_form(value)}" for name, value in pairs.items())


def _flat(query: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, value in query.items():
        if value is None or value is OMIT:
            continue
        if isinstance(value, Mapping):
            pairs |= _flat(cast("Mapping[str, object]", value), f"{prefix}{name}.")
        else:
            pairs[prefix + name] = _text(value)
    return pairs


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ",".join(_text(item) for item in cast("list[object]", value))
    return str(value)


def _form(text: str) -> str:
    """Encode as browsers encode a form."""
    return quote_plus(text, safe="*").replace("~", "%7E")


def _with_parts(base_url: str, host: str | None, protocol: str | None) -> str:
    if host is None and protocol is None:
        return base_url
    _check_origin(base_url)
    parts = urlsplit(base_url)
    scheme = (protocol or parts.scheme).rstrip(":/")
    if host is not None and ":" not in host and parts.port is not None:
        host = f"{host}:{parts.port}"
    return f"{scheme}://{host or parts.netloc}{parts.path}"


def _check_origin(base_url: str) -> None:
    parts = urlsplit(base_url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url holds a user name or password: pass the secret as secret=")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"base_url is {base_url!r}: expected something like https://chat.example.com:8000")


@lru_cache(maxsize=64)
def _origin(url: str) -> str:
    parts = urlsplit(url)
    netloc = parts.netloc.lower()
    if parts.port == {"http": 80, "https": 443}[parts.scheme]:
        netloc = netloc.rpartition(":")[0]
    return f"{parts.scheme}://{netloc}"


@lru_cache(maxsize=64)
def _is_hosted(origin: str) -> bool:
    return urlsplit(origin).hostname == HOSTED


def _is_token(name: str) -> bool:
    return name.replace("-", "").replace("_", "").replace(".", "").isalnum() and name.isascii()
