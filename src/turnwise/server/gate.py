"""The outermost layer: request ids, CORS, errors, and the log; one plain ASGI application around the routes."""

from __future__ import annotations

import itertools
import logging
import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from turnwise.server.answer import error_body
from turnwise.server.cors import Cors
from turnwise.server.errors import DomainError, LimitsReached, RequestTimeout
from turnwise.server.exchange import WHOLE, Disconnected, Frame, Header, HttpExchange, Limits
from turnwise.server.handler import EXCHANGE, WrongMethod
from turnwise.server.ids import Clock, NewId
from turnwise.server.log import log_request
from turnwise.server.rate_fields import reached

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Gate"]

logger = logging.getLogger("turnwise.server")

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,128}")


class Gate:
    """Lets requests in and answers out."""

    def __init__(
        self,
        routes: ASGIApp,
        *,
        cors: Cors,
        limits: Limits,
        new_id: NewId,
        clock: Clock,
        elapsed: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = routes
        self._cors = cors
        self._frame = Frame(limits=limits, clock=clock, elapsed=elapsed)
        self._process_id = new_id()[:20]
        self._counted = itertools.count(1)
        self._elapsed = elapsed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        begun = self._elapsed()
        exchange = self._exchange(scope, receive, send)
        try:
            await self._routes(scope, receive, send)
        except Disconnected:
            pass
        except DomainError as error:
            await _answer_error(exchange, error)
        except Exception:
            logger.exception("a request failed", extra={"fields": {"id": exchange.request_id}})
            if exchange.status:
                raise
            await _answer_error(exchange, _unexpected(exchange))
        finally:
            log_request(exchange, begun, self._elapsed())
            # They refer to the scope as it does to them: all of it would wait for the collector.
            del scope[EXCHANGE]
            scope.pop(WHOLE, None)

    def _next_id(self) -> str:
        return f"{self._process_id}{next(self._counted):012x}"

    def _exchange(self, scope: Scope, receive: Receive, send: Send) -> HttpExchange:
        raw: list[Header] = scope["headers"]
        headers = dict(raw)
        if len(headers) < len(raw) and b"accept" in headers:
            headers[b"accept"] = b",".join([value for name, value in raw if name == b"accept"])
        path: str = scope["path"]
        if path.startswith("/api/v1/"):
            scope["path"] = path = path[4:]
        given_id = headers.get(b"x-request-id")
        request_id = given_id.decode() if given_id and REQUEST_ID.fullmatch(given_id) else self._next_id()
        common: tuple[Header, ...] = ((b"x-request-id", request_id.encode()),)
        if path.startswith("/v1/"):
            preflight = scope["method"] == "OPTIONS"
            common = self._cors.headers(headers.get(b"origin"), preflight=preflight) + common
        exchange = HttpExchange(
            scope,
            receive,
            send,
            headers=headers,
            path=path,
            request_id=request_id,
            common=common,
            frame=self._frame,
        )
        scope[EXCHANGE] = exchange
        return exchange


async def _answer_error(exchange: HttpExchange, error: DomainError) -> None:
    headers: list[Header] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, LimitsReached):
        headers += reached(error)
    if isinstance(error, RequestTimeout):
        headers.append((b"connection", b"close"))
    await exchange.answer(msgspec.json.encode(error_body(error)), status=error.status, headers=headers)


def _unexpected(exchange: HttpExchange) -> DomainError:
    return DomainError(
        f"The server failed at this request, by a fault of its own. Its log has more under {exchange.request_id}."
    )
