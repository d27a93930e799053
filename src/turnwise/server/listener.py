"""uvicorn, told how to run our application: on a socket that is bound already, stopping without a signal's death."""

from __future__ import annotations

import asyncio
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

__all__ = ["Listener", "bind", "url_of"]

BACKLOG: Final = 2048
LAST_WORDS: Final = 5
"""Seconds in which answers to broken-off turns may still go out."""


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
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more; let running turns end, or break them off, and tell their readers."""
        draining = asyncio.create_task(self._application.drain())
        await super().shutdown(sockets)
        if self.force_exit:
            draining.cancel()
        await asyncio.wait([draining])

    def stop(self) -> None:
        """Stop soon. May be called from another thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's own signature
        """Stop at the first signal, at once at a second interrupt; the process is not ended by the signal itself."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `OSError`, which says what to do next."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]  # Python repeats the address here
        raise OSError(
            f"Cannot listen on {host}, port {port}: {reason}. "
            "Choose another with --host and --port (TURNWISE_HOST, TURNWISE_PORT); port 0 is any free one."
        ) from error


def url_of(host: str, listening: socket.socket) -> str:
    """Return the URL under which a socket that listens on `host` is reached."""
    port: int = listening.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
