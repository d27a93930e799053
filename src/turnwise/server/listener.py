"""uvicorn, told how to run our application: on a socket that is bound already, stopping without a signal's death.

Two ways of ending. A server that is to stop says so to load balancers, takes connections for the settings' drain
delay, and then no more. One that is to retire has a successor on the same socket: it leaves that alone at once and
tells nobody. Either is patient with connections on which a request may be on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import signal
import socket
from collections.abc import Callable, Sequence
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

PATIENCE: Final = 1.0
"""Seconds that a connection which asks nothing is kept by a server that retires."""

SHORT_PATIENCE: Final = 0.2
"""The same of a server that stops: whoever asks next is told so, or will be refused."""

TICK: Final = 0.05


class Listener(uvicorn.Server):
    """Accepts connections until it is told to stop; then lets what runs end, for the settings' grace."""

    def __init__(self, application: Application, settings: Settings, *, ready: Callable[[], None]) -> None:
        """`ready` is called once connections are accepted."""
        self._protocol = bounded_protocol(settings.header_timeout)
        super().__init__(
            uvicorn.Config(
                application,
                http=self._protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=math.ceil(settings.idle_timeout),
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
        last = self._stop_listening(sockets or ())
        self._protocol.patience = PATIENCE if self._retires else SHORT_PATIENCE
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for accepted in last:
            await loop.connect_accepted_socket(self._connection, accepted)
        await self._application.retire()
        while self._somebody_waits() and loop.time() < end and not self.force_exit:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(TICK)
        left = max(0.0, end - loop.time())
        self.config.timeout_graceful_shutdown = math.ceil(left) + LAST_WORDS
        draining = asyncio.create_task(self._application.drain(left))
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

    def _stop_listening(self, sockets: Sequence[socket.socket]) -> list[socket.socket]:
        """Take no more connections; return those that the system took already and no successor will accept."""
        held = [listening.dup() for listening in sockets]
        for server in self.servers:
            server.close()
        taken: list[socket.socket] = []
        for listening in held:
            listening.setblocking(False)
            with listening, contextlib.suppress(BlockingIOError):
                while not self._retires:
                    taken.append(listening.accept()[0])
        return taken

    def _connection(self) -> asyncio.Protocol:
        return self._protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

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
