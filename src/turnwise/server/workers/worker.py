"""One of several server processes on a port: started by the supervisor, with a socket that listens already.

Run as `python -m turnwise.server.workers.worker CONTROL LISTENING`, two inherited file descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager

from turnwise.server.errors import DomainError
from turnwise.server.listener import Listener
from turnwise.server.log import configure_logging
from turnwise.server.serve import opened, run_in_loop, say_on_stderr
from turnwise.server.settings import Settings, load_settings
from turnwise.server.sockets import url_of
from turnwise.server.workers.control import BETWEEN_BEATS, Beat, Failed, Ready, Start, order_of, written

__all__ = ["main"]


def main(control_fd: int, listening_fd: int) -> int:
    """Serve until the supervisor says otherwise, or is gone. Return the process's exit status."""
    with socket.socket(fileno=control_fd) as control, socket.socket(fileno=listening_fd) as listening:
        with control.makefile("rb", buffering=0) as orders:
            line = orders.readline()
        order = order_of(line) if line else None
        if not isinstance(order, Start):
            return 1
        try:
            settings = load_settings(order.flags)
            configure_logging(form=settings.log_format, level=settings.log_level, name_process=True)
            run_in_loop(_work(control, listening, settings, first=order.first))
        except (DomainError, OSError, ValueError) as error:
            with contextlib.suppress(OSError):
                control.sendall(written(Failed(str(error), usage=isinstance(error, ValueError))))
            return 1
    return 0


async def _work(control: socket.socket, listening: socket.socket, settings: Settings, *, first: bool) -> None:
    async with opened(
        settings,
        url=url_of(settings.host, listening),
        first=first,
        say=say_on_stderr if first else _say_nothing,
    ) as application:
        reader, writer = await asyncio.open_unix_connection(sock=control.dup())
        listener = Listener(application, settings, ready=lambda: writer.write(written(Ready())))
        try:
            async with _beside(_obey(reader, listener)), _beside(_beat(writer)):
                await listener.serve(sockets=[listening])
        finally:
            writer.close()


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Do this too, for as long."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _beat(writer: asyncio.StreamWriter) -> None:
    """Tell the supervisor again and again that the event loop goes round."""
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(BETWEEN_BEATS)
            writer.write(written(Beat()))
            await writer.drain()


async def _obey(reader: asyncio.StreamReader, listener: Listener) -> None:
    """Retire when the supervisor says so; stop when it is gone."""
    try:
        told = await reader.readline()
    except ConnectionError:
        told = b""
    if told:
        listener.retire()
    else:
        listener.stop()


def _say_nothing(_sentence: str) -> None:
    """The first worker says it for all."""


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
