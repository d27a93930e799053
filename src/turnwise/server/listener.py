"""uvicorn, told how to run our application: on a socket that is bound already, stopping without a signal's death.

Two ways of ending. A server that is to stop says so to load balancers, takes connections for the settings' drain
delay, then takes no more and closes those that ask nothing. One that is to retire has a successor on the same socket:
it leaves that alone at once, tells nobody, and is patient with connections on which a request may be on its way.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn

from turnwise.server.app import Application
from turnwise.server.connection import bounded_protocol
from turnwise.server.settings import Settings
from turnwise.server.sockets import BACKLOG

__all__ = ["Listener"]

LAST_WORDS: Final = 5
"""Seconds in which answers to broken-off turns may still go out."""

PATIENCE: Final = 1
"""Seconds that a connection which asks nothing is kept by a server that retires."""

TICK: Final = 0.05


class Listener(uvicorn.Server):
    """Accepts connections until it is told to stop; then lets what runs end, for the settings' grace."""

    def __init__(self, application: Application, settings: Settings, *, ready: Callable[[], None]) -> None:
        """`ready` is called once connections are accepted."""
        super().__init__(
            uvicorn.Config(
                application,
                http=bounded_protocol(settings.header_timeout),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(settings.idle_timeout),
                timeout_graceful_shutdown=math.ceil(settings.grace) + LAST_WORDS,
                backlog=BACKLOG,
            )
        )
        self._application = application
        self._settings = settings
        self._ready = ready
        self._retires = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def main_loop(self) -> None:
        """Accept connections until told otherwise, and then for the drain delay."""
        await super().main_loop()
        self.config.encoded_headers.append((b"connection", b"close"))
        await self.on_tick(0)
        if not self._retires:
            self._application.announce_stop()
            await self._delay(self._settings.drain_delay)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more; let running turns end, or break them off, and tell their readers."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.grace
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        self.config.timeout_keep_alive = PATIENCE if self._retires else 0
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self._somebody_waits() and loop.time() < end and not self.force_exit:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(TICK)
        draining = asyncio.create_task(self._application.drain(max(0.0, end - loop.time())))
        await super().shutdown()
        if self.force_exit:
            draining.cancel()
        await asyncio.wait([draining])

    def stop(self) -> None:
        """Stop soon. May be called from another thread."""
        self.should_exit = True

    def retire(self) -> None:
        """Stop soon, and leave the socket to a successor that accepts from it already."""
        self._retires = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's own signature
        """Stop at the first signal, at once at a second interrupt; the process is not ended by the signal itself."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    def _somebody_waits(self) -> bool:
        """Tell whether somebody asks, may be about to, or has no answer yet; listening to a channel does not count."""
        return len(self.server_state.connections) > self._application.subscribers

    async def _delay(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        for tick in itertools.count(1):
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or self.force_exit:
                return
            await asyncio.sleep(min(0.1, left))
            await self.on_tick(tick)
