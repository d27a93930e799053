"""The port to HTTP: one request out, one answer in, every failure as an error of Turnwise.

An adapter neither retries nor follows redirects, and knows nothing of conversations. It raises `ConnectError` or
`ConnectTimeout` where nothing was sent, `ConnectionLost` where something was, and the other timeouts by name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Protocol

import msgspec

from turnwise._call import Timeout

__all__ = ["AsyncTransport", "AsyncTransportResponse", "Transport", "TransportResponse", "WireRequest"]


class WireRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it travels: a Struct, because one is made for every call."""

    method: str
    origin: str
    """Scheme, host and port, such as `https://api.chatbotkit.com`."""
    target: str
    """Path and query, percent-encoded."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes | None = None

    @property
    def url(self) -> str:
        """The whole address."""
        return self.origin + self.target

    @property
    def path(self) -> str:
        """The path without its query, which may hold what should not be logged."""
        return self.target.partition("?")[0]

    def __repr__(self) -> str:
        return f"WireRequest({self.method} {self.origin}{self.path})"


class TransportResponse(Protocol):
    """An answer whose body has not been read yet."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in lower case."""
        ...

    def read(self) -> bytes:
        """Read the whole body and give the connection back."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, without waiting for more; give the connection back at its end."""
        ...

    def close(self) -> None:
        """End it: what was not read never will be. Closing again does nothing."""
        ...


class Transport(Protocol):
    """Sends requests for the synchronous clients; safe for many threads and after a fork."""

    def send(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> TransportResponse:
        """Send `request` and return once the answer's headers are here; `stream` says how it will be read."""
        ...

    def close(self) -> None:
        """Close the idle connections. A closed transport opens new ones when it is used again."""
        ...


class AsyncTransportResponse(Protocol):
    """An answer whose body has not been read yet."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in lower case."""
        ...

    async def aread(self) -> bytes:
        """Read the whole body and give the connection back."""
        ...

    def achunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, without waiting for more; give the connection back at its end."""
        ...

    def close(self) -> None:
        """End it at once: what was not read never will be. Closing again does nothing."""
        ...


class AsyncTransport(Protocol):
    """Sends requests for the asynchronous clients, in one event loop after another."""

    async def asend(self, request: WireRequest, timeout: Timeout, /, *, stream: bool) -> AsyncTransportResponse:
        """Send `request` and return once the answer's headers are here; `stream` says how it will be read."""
        ...

    async def aclose(self) -> None:
        """Close the idle connections. A closed transport opens new ones when it is used again."""
        ...
