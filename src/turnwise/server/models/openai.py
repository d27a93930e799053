"""Models of any server that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, Ollama, LM Studio.

Relaying tokens is the hot path, so a packet is decoded as a whole and handed on as one batch. aiohttp is imported
when the first model is asked.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import io
import random
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from turnwise.server.models.base import Delta, Prompt
from turnwise.server.models.model_list import ListedModel, parse_model_list
from turnwise.server.models.openai_errors import (
    UNREADABLE,
    Endpoint,
    ErrorDetail,
    UpstreamError,
    error_detail,
    retry_after,
    status_error,
)
from turnwise.server.models.openai_reply import ReplyReader
from turnwise.server.models.openai_request import Adaptation, adaptation_for, request_body
from turnwise.server.models.silence import Silence

if TYPE_CHECKING:
    import aiohttp

__all__ = ["DEFAULT_CONTEXT_WINDOW", "OpenAIModel", "OpenAIServer", "Patience"]

DEFAULT_CONTEXT_WINDOW: Final = 128_000
LONGEST_ERROR: Final = 65_536
LONGEST_PLAIN_BODY: Final = 1 << 20
LINGER: Final = 1.0
NO_ADAPTATIONS: Final = frozenset[Adaptation]()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a model server, in seconds, and how often to ask it."""

    connect: float = 10.0
    idle: float = 300.0
    """Between two packets, and before the first: a long prompt is read in silence."""
    tries: int = 3
    """In all. Asked again only where that may help and nothing of the reply was seen."""
    first_delay: float = 0.5
    """Before the second try where the server names no time; it doubles, with jitter."""
    longest_delay: float = 10.0
    """Where the server wants a longer wait, it is not asked again, and the caller is told when to come back."""


class OpenAIServer:
    """One model server: its address and key, its connections, and what was learnt about its dialect.

    A `session` handed in stays its owner's; else one is made on first use, and `aclose` closes it.
    """

    def __init__(
        self, endpoint: Endpoint, *, patience: Patience | None = None, session: aiohttp.ClientSession | None = None
    ) -> None:
        if urlsplit(endpoint.base_url).scheme not in {"http", "https"}:
            raise ValueError(
                f"{endpoint.url_variable} is {endpoint.base_url.rpartition('@')[2]!r}; "
                "expected a URL such as http://127.0.0.1:11434/v1."
            )
        self.endpoint = endpoint
        self.patience = patience or Patience()
        self._adaptations: dict[str, frozenset[Adaptation]] = {}
        self._lingering: set[aiohttp.ClientResponse] = set()
        self._session = session
        self._owned = session is None
        self._proxy: str | None = None
        self._base_url = endpoint.base_url.rstrip("/")
        self._headers = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
        if endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._post_headers = {**self._headers, "Content-Type": "application/json"}
        self._timeout: aiohttp.ClientTimeout | None = None

    async def aclose(self) -> None:
        """Close the connections, and with them whatever is still being received."""
        for response in list(self._lingering):
            self._settle(response)
        if self._session is not None and self._owned:
            session, self._session = self._session, None
            await session.close()

    async def models(self) -> Mapping[str, ListedModel]:
        """Return the models the server lists, by name.

        Raises:
            UpstreamError: it lists none that can be read.
        """
        response = await self._request("GET", "/models")
        import aiohttp

        try:
            body = await response.read()
            if response.status != 200:
                raise status_error(self.endpoint, "", response.status, error_detail(body[:LONGEST_ERROR]))
            return parse_model_list(body)
        except UNREADABLE as error:
            raise self.endpoint.malformed(str(error)) from None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise self.failure(error, begun=False) from error
        finally:
            response.close()

    async def ask(self, model: str, prompt: Prompt) -> aiohttp.ClientResponse:
        """Return a response of status 200 whose body is the reply; the caller closes it.

        A field that the server refuses and can do without is left out and not sent to this model again.

        Raises:
            UpstreamError: any other answer, or none.
        """
        adaptations = self._adaptations.get(model, NO_ADAPTATIONS)
        while True:
            response = await self._request("POST", "/chat/completions", request_body(model, prompt, adaptations))
            if response.status == 200:
                return response
            detail = await _refusal(response)
            adaptation = adaptation_for(response.status, detail)
            if adaptation is None or adaptation in adaptations:
                wait = retry_after(response.headers)
                raise status_error(self.endpoint, model, response.status, detail, wait=wait)
            adaptations |= {adaptation}
            self._adaptations[model] = adaptations

    def failure(self, error: Exception, *, begun: bool) -> UpstreamError:
        """Return what a failure of the connection means; `begun` when part of the reply was received."""
        import aiohttp

        match error:
            case aiohttp.ConnectionTimeoutError():
                return self.endpoint.connect_timeout(self.patience.connect)
            case TimeoutError():
                return self.endpoint.idle_timeout(self.patience.idle)
            case aiohttp.ClientSSLError():
                return self.endpoint.untrusted(str(error))
            case aiohttp.ClientConnectorError() if error.os_error.errno == errno.ECONNREFUSED:
                return self.endpoint.refused()
            case aiohttp.ClientConnectorError():
                return self.endpoint.unreachable(error.os_error.strerror or str(error.os_error))
            case aiohttp.ClientResponseError():
                return self.endpoint.malformed(f"no HTTP: {error.message}")
            # RuntimeError is how aiohttp and uvloop speak of a connection that is closed by now.
            case aiohttp.ClientError() | OSError() | RuntimeError():
                return self.endpoint.cut(begun=begun)
            case _:
                return self.endpoint.unreachable(f"{self.endpoint.url_variable} is not a usable URL")

    def leave(self, response: aiohttp.ClientResponse, *, whole: bool) -> None:
        """Close the connection; after a `whole` reply it goes back to the pool once the body's last bytes are here."""
        if not whole or response.content.at_eof():
            response.close()
        else:
            self._lingering.add(response)
            asyncio.get_running_loop().call_later(LINGER, self._settle, response)

    def _settle(self, response: aiohttp.ClientResponse) -> None:
        self._lingering.discard(response)
        response.close()

    async def _request(self, method: str, path: str, body: bytes | None = None) -> aiohttp.ClientResponse:
        await _load_aiohttp()
        import aiohttp

        session = self._connected()
        try:
            return await session.request(
                method,
                self._base_url + path,
                data=io.BytesIO(body) if body is not None and len(body) > LONGEST_PLAIN_BODY else body,
                headers=self._headers if body is None else self._post_headers,
                proxy=self._proxy,
                allow_redirects=False,
                timeout=self._timeout,
            )
        except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
            raise self.failure(error, begun=False) from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        if self._timeout is None:
            import aiohttp

            patience = self.patience
            self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=patience.connect, sock_read=patience.idle)
            self._proxy = _proxy_for(self._base_url)
        return self._session


class OpenAIModel:
    """One model of a server. The configuration's `region` has no meaning on this wire and is not sent."""

    def __init__(self, name: str, server: OpenAIServer, *, context_window: int = DEFAULT_CONTEXT_WINDOW) -> None:
        self._name = name
        self._server = server
        self._context_window = context_window

    @property
    def name(self) -> str:
        """The name the server lists it under."""
        return self._name

    @property
    def context_window(self) -> int:
        """How many tokens prompt and reply may have together."""
        return self._context_window

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        """Ask the model; one batch of deltas a received packet, the last one ending in a `Finish`.

        Closing the iterator, or cancelling the task that reads it, closes the connection at once.

        Raises:
            UpstreamError: the model did not answer, or not to the end.
        """
        await _load_aiohttp()
        import aiohttp

        for delay in _delays(self._server.patience):
            reply = ReplyReader(self._server.endpoint, self._name, prompt)
            try:
                response = await self._server.ask(self._name, prompt)
                try:
                    with Silence(response, self._server.patience.idle) as silence:
                        async for packet in response.content.iter_any():
                            silence.heard()
                            if deltas := reply.feed(packet):
                                yield deltas
                            reply.check()
                            if reply.done:
                                break
                except (aiohttp.ClientError, OSError, RuntimeError) as error:
                    if not reply.finished:
                        raise self._server.failure(error, begun=reply.begun) from error
                finally:
                    self._server.leave(response, whole=reply.done)
                yield reply.close()
                reply.check()
                return
            except UpstreamError as error:
                wait = delay if error.retry_after is None else error.retry_after
                again = delay is not None and error.retryable and not reply.begun
                if not again or wait is None or wait > self._server.patience.longest_delay:
                    raise
            await asyncio.sleep(wait)


async def _load_aiohttp() -> None:
    """Import aiohttp in a thread, the first time: that takes a tenth of a second, in which other turns go on."""
    if not hasattr(sys.modules.get("aiohttp"), "ClientSession"):
        await asyncio.to_thread(importlib.import_module, "aiohttp")


async def _refusal(response: aiohttp.ClientResponse) -> ErrorDetail:
    """Read why a request was refused, as far as that arrives, and close the response."""
    import aiohttp

    body = b""
    try:
        while len(body) < LONGEST_ERROR and (packet := await response.content.readany()):
            body += packet
    except (aiohttp.ClientError, OSError, RuntimeError):
        pass  # the status alone says enough
    finally:
        response.close()
    return error_detail(body[:LONGEST_ERROR])


def _delays(patience: Patience) -> list[float | None]:
    """Return the wait after each try; `None` after the last one."""
    delays: list[float | None] = []
    for number in range(patience.tries - 1):
        jitter = random.uniform(0.75, 1.25)  # noqa: S311 - it spreads retries, it guards nothing
        delays.append(min(patience.first_delay * 2**number * jitter, patience.longest_delay))
    return [*delays, None]


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for `url`."""
    import urllib.request

    parts = urlsplit(url)
    if parts.hostname in {None, "localhost", "127.0.0.1", "::1"} or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
