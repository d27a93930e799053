"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from turnwise.server.answer import Renderer
from turnwise.server.auth import Authenticator
from turnwise.server.channels.base import Channels
from turnwise.server.channels.local import LocalChannels
from turnwise.server.cors import Cors
from turnwise.server.errors import NotFound, Unavailable
from turnwise.server.exchange import HttpExchange, Limits
from turnwise.server.gate import Gate
from turnwise.server.handler import EXCHANGE, Endpoint
from turnwise.server.ids import Clock, NewId, new_id, now
from turnwise.server.models.base import Models
from turnwise.server.page import Page
from turnwise.server.route import PlainRouter
from turnwise.server.routes import OPERATIONS
from turnwise.server.services import Services
from turnwise.server.services.account import DEFAULT_ACCOUNT, AccountService, digest_secret
from turnwise.server.services.channel import ChannelService
from turnwise.server.services.channel_access import WaitingChannels, dispatches_of
from turnwise.server.services.conversation import ConversationService
from turnwise.server.services.limits import Ceilings
from turnwise.server.services.message import MessageService
from turnwise.server.services.rates import Rates
from turnwise.server.services.session import SessionService, random_key
from turnwise.server.services.turns import TurnService, TurnSettings
from turnwise.server.services.use import Allowance
from turnwise.server.settings import Settings
from turnwise.server.storage.base import Account
from turnwise.server.storage.journal import JournaledStorage
from turnwise.server.upkeep import purge_forever

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Adapters", "Application", "create_app"]

API: str = "/v1"

READY_WITHIN: float = 2.0
"""Seconds in which the database must answer, for a server that is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What the server stands on."""

    storage: JournaledStorage
    models: Models
    channels: Channels | None = None
    """The storage's own, unless given."""
    new_id: NewId = new_id
    clock: Clock = now
    guest_secret: str = field(default="", repr=False)
    """A secret of the account `default` that is valid as long as this application, without being stored."""


def create_app(settings: Settings, adapters: Adapters) -> Application:
    """Return the server. An ASGI server with lifespan opens and closes it; else use `open` and `close`."""
    return Application(settings, adapters)


class Application:
    """The server: opened, it answers requests until it is closed."""

    def __init__(self, settings: Settings, adapters: Adapters) -> None:
        self.settings = settings
        self.adapters = adapters
        self._gate: Gate | None = None
        self._turns: TurnService | None = None
        self._rates = _rates(settings, adapters)
        self.channels: Channels = adapters.channels or LocalChannels(
            adapters.storage, notices=adapters.storage.notices, clock=adapters.clock
        )
        self.waiting = WaitingChannels(dispatches_of(adapters.storage), adapters.storage)
        """What session tokens may do on channels."""
        self._upkeep: asyncio.Task[None] | None = None
        self._renderer = Renderer(clock=adapters.clock, ping_interval=settings.ping_interval)
        self._stopping = False

    @property
    def subscribers(self) -> int:
        """How many requests listen to channels; they end when the application drains, and not before."""
        return self._renderer.subscribers

    def announce_stop(self) -> None:
        """Let `/readyz` say from now on that this server stops, so that load balancers turn to others."""
        self._stopping = True

    async def open(self) -> None:
        """Open the storage and begin to serve."""
        adapters, settings = self.adapters, self.settings
        storage, clock = adapters.storage, adapters.clock
        await storage.open()
        await self.channels.open()
        services, authenticator = await self._services()
        self._turns = services.turns
        if self._rates is not None:
            await self._rates.open()
        await self._turns.open()  # from here on turns run, those that others left
        self._gate = Gate(
            self._routes(services, authenticator),
            cors=Cors(settings.cors_origins),
            limits=Limits(body_bytes=settings.body_bytes, body_timeout=settings.body_timeout),
            new_id=adapters.new_id,
            clock=clock,
        )
        self._upkeep = asyncio.create_task(purge_forever(storage, clock=clock, interval=settings.purge_interval))

    async def retire(self) -> None:
        """Hand over what waits here to other processes; what runs goes on, and requests are answered still."""
        if self._turns is not None:
            await self._turns.retire()

    async def drain(self, grace: float | None = None) -> None:
        """Let running turns end for `grace` seconds (the settings' unless given), then break them off."""
        if self._turns is not None:
            await self._turns.shutdown(self.settings.grace if grace is None else grace)
        await self.waiting.close()
        await self.channels.close()

    async def close(self, *, grace: float | None = None) -> None:
        """Drain, and close what the server stands on."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        await self.drain(grace)
        if self._rates is not None:
            await self._rates.close()
        self._gate = self._turns = self._upkeep = None
        await self.adapters.models.aclose()
        await self.adapters.storage.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI."""
        if scope["type"] == "http":
            if self._gate is None:
                raise RuntimeError("the application is not open: run it with lifespan on, or call `open`")
            await self._gate(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.open()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _services(self) -> tuple[Services, Authenticator]:
        adapters = self.adapters
        storage, clock, make_id = adapters.storage, adapters.clock, adapters.new_id
        key = await storage.signing_key(random_key())
        guests: dict[bytes, Account] = {}
        if secret := adapters.guest_secret:
            account = await AccountService(storage, new_id=make_id, clock=clock).ensure_account(DEFAULT_ACCOUNT)
            guests[digest_secret(secret)] = account
        open_accounts = frozenset(account.id for account in guests.values())
        sessions = SessionService(storage, clock=clock, key=key, open_accounts=open_accounts)
        turns = TurnService(
            storage,
            self.channels,
            adapters.models,
            waiting=self.waiting,
            rates=self._rates,
            new_id=make_id,
            clock=clock,
            settings=_turn_settings(self.settings),
        )
        services = Services(
            conversations=ConversationService(
                storage, adapters.models, new_id=make_id, clock=clock, deleted=turns.conversation_deleted
            ),
            messages=MessageService(storage, new_id=make_id, clock=clock),
            sessions=sessions,
            turns=turns,
            channels=ChannelService(self.channels, self.waiting),
        )
        return services, Authenticator(storage, sessions, guests=guests)

    def _routes(self, services: Services, authenticator: Authenticator) -> ASGIApp:
        routes: list[tuple[str, ASGIApp]] = [
            (API + operation.path, Endpoint(operation, services, authenticator, self._renderer, rates=self._rates))
            for operation in OPERATIONS
        ]
        pages = ((f"{API}/spec", _spec), ("/healthz", _healthy), ("/readyz", self._ready))
        routes += [(path, Page(path, make)) for path, make in pages]
        return PlainRouter(routes, default=_unknown_path)

    async def _ready(self) -> tuple[int, bytes]:
        if self._stopping:
            raise Unavailable("The server is stopping. Send requests to another one.", retry_after=1.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN):
                if await self.adapters.storage.ready():
                    return 200, b'{"status":"ready"}'
        raise Unavailable("The database does not answer, or cannot be written to.", retry_after=1.0)


def _rates(settings: Settings, adapters: Adapters) -> Rates | None:
    account = Allowance(
        requests=settings.max_account_requests,
        messages=settings.max_account_messages,
        tokens=settings.max_account_tokens,
        turns=settings.max_account_turns,
    )
    session = Allowance(
        requests=settings.max_session_requests,
        messages=settings.max_session_messages,
        tokens=settings.max_session_tokens,
        turns=settings.max_session_turns,
    )
    if account == session == Allowance():
        return None
    return Rates(adapters.storage, account=account, session=session, new_id=adapters.new_id)


def _turn_settings(settings: Settings) -> TurnSettings:
    return TurnSettings(
        wait=settings.turn_timeout,
        ceilings=Ceilings(
            iterations=settings.max_iterations, continuations=settings.max_continuations, calls=settings.max_calls
        ),
        function_timeout=settings.function_timeout,
        dispatches=settings.max_dispatches,
        account_dispatches=settings.max_account_dispatches,
    )


async def _healthy() -> tuple[int, bytes]:
    return 200, b'{"status":"ok"}'


async def _spec() -> tuple[int, bytes]:
    from turnwise.server.openapi import document_bytes

    return 200, document_bytes()


async def _unknown_path(scope: Scope, _receive: Receive, _send: Send) -> None:
    if scope["method"] == "OPTIONS":  # a browser that is refused here keeps the 404 itself from its page
        exchange: HttpExchange = scope[EXCHANGE]
        await exchange.answer(b"")
        return
    raise NotFound(f"There is nothing at {scope['path']}. `GET /api/v1/spec` lists the operations of this server.")
