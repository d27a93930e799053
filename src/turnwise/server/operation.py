"""The operations of the API: one table that routes, authentication and the OpenAPI document are made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from turnwise.server.answer import Answer
from turnwise.server.errors import NotYetImplemented
from turnwise.server.exchange import HttpExchange
from turnwise.server.negotiate import Form
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.types._base import Request

if TYPE_CHECKING:
    from turnwise.server.services import Services

__all__ = ["Operation", "Parameter", "read", "unbuilt", "write"]

B = TypeVar("B", bound=Request)

Perform = Callable[["Services", HttpExchange], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a query."""

    name: str
    description: str
    type: Literal["string", "integer", "object"] = "string"
    choices: tuple[str, ...] = ()
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that can be asked for."""

    name: str
    """Its id, unique."""
    method: Literal["GET", "POST"]
    path: str
    """Template, without `/v1`."""
    summary: str
    perform: Perform
    session: bool = False
    """Whether a session token opens it, for the token's own conversation."""
    forms: tuple[Form, ...] = ()
    """The forms of its answer; none: always JSON, whatever is accepted."""
    parameters: tuple[Parameter, ...] = ()
    body: type[Request] | None = None
    result: type[msgspec.Struct] | None = None
    """What it answers; for a list, one item of it; `None`: it only streams."""
    events: object | None = None
    """The union of events it streams."""


def read(
    path: str,
    name: str,
    summary: str,
    perform: Perform,
    *,
    result: type[msgspec.Struct],
    session: bool = False,
    forms: tuple[Form, ...] = (),
    parameters: tuple[Parameter, ...] = (),
    events: object | None = None,
) -> Operation:
    """Return an operation that changes nothing."""
    return Operation(
        name=name,
        method="GET",
        path=path,
        summary=summary,
        perform=perform,
        session=session,
        forms=forms,
        parameters=parameters,
        result=result,
        events=events,
    )


def write(
    path: str,
    name: str,
    summary: str,
    perform: Callable[[Services, HttpExchange, B, KeyedRequest | None], Awaitable[Answer]],
    *,
    body: type[B],
    result: type[msgspec.Struct] | None = None,
    session: bool = False,
    forms: tuple[Form, ...] = (),
    events: object | None = None,
) -> Operation:
    """Return an operation with a body, which `perform` gets decoded, together with the idempotency key."""
    decoder = msgspec.json.Decoder(body)

    async def decode_and_perform(services: Services, exchange: HttpExchange) -> Answer:
        request, keyed = await exchange.read(decoder)
        return await perform(services, exchange, request, keyed)

    return Operation(
        name=name,
        method="POST",
        path=path,
        summary=summary,
        perform=decode_and_perform,
        session=session,
        forms=forms,
        body=body,
        result=result,
        events=events,
    )


def unbuilt(method: Literal["GET", "POST"], path: str, name: str, summary: str, *, session: bool = False) -> Operation:
    """Return an operation that is refused: it is known, and not built yet."""

    async def refuse(_services: Services, _exchange: HttpExchange) -> Answer:
        raise NotYetImplemented(f"{name} ({path}): this server cannot do that yet.")

    return Operation(name=name, method=method, path=path, summary=summary, perform=refuse, session=session)
