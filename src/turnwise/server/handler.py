"""The typed layer over Starlette's routing: authenticate, negotiate, perform, render."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from turnwise.server.answer import Renderer
from turnwise.server.auth import Authenticator
from turnwise.server.errors import Forbidden, MethodNotAllowed, NotYetImplemented
from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import negotiate
from turnwise.server.operation import Operation
from turnwise.server.principal import Principal, SessionPrincipal
from turnwise.server.rate_fields import left
from turnwise.server.services.meter import Meter
from turnwise.server.services.rates import Rates

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from turnwise.server.services import Services

__all__ = ["EXCHANGE", "Endpoint", "WrongMethod", "answer_other_method"]

EXCHANGE: Final = "turnwise.exchange"
"""Where an ASGI scope holds its `HttpExchange`."""

KNOWN_AT_MOST: Final = 1000

RUN_AS: Final = (b"x-runas-user-id", b"x-runas-child-user-email")


class WrongMethod(MethodNotAllowed):
    """The path exists; `allow` says which methods fit it."""

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"{method} does not fit this path; {allow.split(',', maxsplit=1)[0]} does.")
        self.allow = allow


class Endpoint:
    """An operation as an ASGI application."""

    def __init__(
        self,
        operation: Operation,
        services: Services,
        authenticator: Authenticator,
        renderer: Renderer,
        *,
        rates: Rates | None = None,
    ) -> None:
        """Without `rates` nothing is counted or limited."""
        self._operation = operation
        self._services = services
        self._authenticator = authenticator
        self._renderer = renderer
        self._rates = rates
        self._meters: dict[str, Meter] = {}

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Answer a request for this operation."""
        operation = self._operation
        exchange: HttpExchange = scope[EXCHANGE]
        exchange.route = operation.path
        if scope["method"] != operation.method:
            await answer_other_method(exchange, operation.method)
            return
        authorization = exchange.headers.get(b"authorization")
        principal = self._authenticator.recognize(authorization)
        exchange.principal = principal = principal or await self._authenticator.authenticate(authorization)
        if self._rates is not None:
            exchange.meter = meter = self._meter(principal, self._rates)
            if not meter.count_request():
                await meter.request()
            found = meter.left()
            if found is not None:
                exchange.add_headers(left(found))
        self._admit(exchange)
        if operation.forms:
            exchange.form = negotiate(exchange.headers.get(b"accept"), operation.forms)
        await self._renderer.render(exchange, await operation.perform(self._services, exchange))

    def _meter(self, principal: Principal, rates: Rates) -> Meter:
        """Return what counts for a principal; that of an account is used again."""
        if isinstance(principal, SessionPrincipal):
            return Meter(rates, principal.account_id, principal.token_id)
        meter = self._meters.get(principal.account_id)
        if meter is None:
            if len(self._meters) >= KNOWN_AT_MOST:
                self._meters.clear()
            meter = self._meters[principal.account_id] = Meter(rates, principal.account_id)
        return meter

    def _admit(self, exchange: HttpExchange) -> None:
        """Refuse what this principal may not reach."""
        principal = exchange.principal
        if isinstance(principal, SessionPrincipal):
            if not self._operation.session:
                raise Forbidden(f"A session token does not open {self._operation.name}. Use a secret of the account.")
            ids: dict[str, str] = exchange.scope["path_params"]
            if ids.get("conversationId", principal.conversation_id) != principal.conversation_id:
                raise Forbidden("This session token opens another conversation. Ask for a token of this one.")
        for name in RUN_AS:
            if exchange.headers.get(name):
                raise NotYetImplemented(
                    f"{name.decode()}: this server cannot act for others yet. Leave the header out."
                )


async def answer_other_method(exchange: HttpExchange, method: str) -> None:
    """Answer HEAD and OPTIONS; raise `WrongMethod` for everything else that is not `method`."""
    asked: str = exchange.scope["method"]
    allow = f"{method}, HEAD, OPTIONS"
    if asked not in {"HEAD", "OPTIONS"}:
        raise WrongMethod(asked, allow)
    await exchange.answer(b"", headers=[(b"allow", allow.encode())])
