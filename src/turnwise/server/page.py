"""Documents beside the operations: the API's description, and whether the server is well. They need no secret."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from turnwise.server.exchange import HttpExchange
from turnwise.server.handler import EXCHANGE, answer_other_method

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["Page"]


class Page:
    """A JSON document that anybody may GET."""

    def __init__(self, path: str, make: Callable[[], Awaitable[tuple[int, bytes]]]) -> None:
        """`make` returns status and body."""
        self._path = path
        self._make = make

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Answer a request for the document."""
        exchange: HttpExchange = scope[EXCHANGE]
        exchange.route = self._path
        if scope["method"] != "GET":
            await answer_other_method(exchange, "GET")
            return
        status, body = await self._make()
        await exchange.answer(body, status=status)
