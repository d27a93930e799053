"""A way to servers, or to a socket's file, that can be led elsewhere, and cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from types import TracebackType
from typing import Self

Dice = random.Random


class Proxy:
    """Hands every connection on, to each of `ports` in turn, or to `path`; they may change. A context manager."""

    def __init__(self, *, path: Path | None = None) -> None:
        self.ports: list[int] = []
        self.path = path
        self.closed = False
        """Whether nothing is handed on: it is as if the other side were not there."""
        self.cuts = 0
        """How many connections were cut."""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1000)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self, chance: float, dice: Dice) -> None:
        """Break off each open connection with this probability."""
        for writer in list(self._open):
            if dice.random() < chance:
                self.cuts += 1
                writer.transport.abort()

    def cut_all(self) -> None:
        """Break off every open connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            onward_reader, onward = await self._onward()
        except OSError:
            writer.transport.abort()
        else:
            ways = [asyncio.create_task(_pump(reader, onward)), asyncio.create_task(_pump(onward_reader, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for end in (writer, onward):
                end.transport.abort()
            await asyncio.wait(ways)
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _onward(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.closed:
            raise ConnectionRefusedError
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        self.ports.append(self.ports.pop(0))
        return await asyncio.open_connection("127.0.0.1", self.ports[-1])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        # What was written is still on its way when the other side is shut.
        if writer.can_write_eof():
            writer.write_eof()
            await asyncio.sleep(0.01)
