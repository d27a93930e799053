"""The sockets that a server listens on: one for one process, or one for each of several on the same port."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Final

__all__ = ["BACKLOG", "bind", "bind_many", "url_of"]

BACKLOG: Final = 2048

BALANCED: Final = sys.platform == "linux"
"""Whether the system deals connections out among sockets that share a port; others give all of them to one."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `OSError`, which says what to do next."""
    return _bind(host, port)


def bind_many(host: str, port: int, count: int, *, balanced: bool = BALANCED) -> list[socket.socket]:
    """Return `count` listening sockets on one port, each with a queue of its own.

    Where the system does not deal connections out (not `balanced`), all are one socket, and whoever is quickest takes
    the next connection. Raises `OSError`, which says what to do next.
    """
    with contextlib.ExitStack() as opened:
        # Sockets that share a port would share it with another server's, too: this one refuses to.
        first = opened.enter_context(_bind(host, port))
        if not balanced:
            opened.pop_all()
            return [first, *(first.dup() for _ in range(count - 1))]
        port = first.getsockname()[1]
        first.close()
        sockets = [opened.enter_context(_bind(host, port, shared=True)) for _ in range(count)]
        opened.pop_all()
        return sockets


def _bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
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
