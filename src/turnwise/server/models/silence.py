"""A bound on how long a model server may be silent in the middle of a reply."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Silence"]


class Silence:
    """Fails the reading of a response, as aiohttp's `sock_read` does, once nothing came for some seconds.

    aiohttp sets a new timer at every packet, which costs as much as decoding it. Here one timer looks, when it is
    due, whether anything came since.
    """

    def __init__(self, response: aiohttp.ClientResponse, seconds: float) -> None:
        self._response = response
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()

    def __enter__(self) -> Self:
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = None
        self._timer = self._loop.call_later(self._seconds, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def heard(self) -> None:
        """Note that something came."""
        self._heard = self._loop.time()

    def _look(self) -> None:
        due = self._heard + self._seconds
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        else:
            import aiohttp

            self._response.content.set_exception(aiohttp.SocketTimeoutError("nothing came for too long"))
