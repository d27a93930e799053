"""How bytes travel: the port (`base`) and one adapter for each HTTP library, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from turnwise._transport.base import AsyncTransport, Transport

__all__ = ["async_transport", "transport"]


def transport(http_client: object) -> Transport:
    """Return the transport of a synchronous client: the given one, or one over the given pool, or a new one.

    Raises:
        TypeError: `http_client` is none of these.
    """
    if hasattr(http_client, "send") and hasattr(http_client, "close"):
        return cast("Transport", http_client)
    import urllib3

    from turnwise._transport.urllib3 import Urllib3Transport

    if http_client is None or isinstance(http_client, urllib3.PoolManager):
        return Urllib3Transport(http_client)
    raise TypeError(
        f"http_client is a {type(http_client).__name__}: "
        "a synchronous client takes a urllib3.PoolManager or a Transport"
    )


def async_transport(http_client: object) -> AsyncTransport:
    """Return the transport of an asynchronous client: the given one, or one over the given session, or a new one.

    Raises:
        TypeError: `http_client` is none of these.
    """
    if hasattr(http_client, "asend") and hasattr(http_client, "aclose"):
        return cast("AsyncTransport", http_client)
    import aiohttp

    from turnwise._transport.aiohttp import AiohttpTransport

    if http_client is None or isinstance(http_client, aiohttp.ClientSession):
        return AiohttpTransport(http_client)
    raise TypeError(
        f"http_client is a {type(http_client).__name__}: "
        "an asynchronous client takes an aiohttp.ClientSession or an AsyncTransport"
    )
