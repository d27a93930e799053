"""A wire between a storage and its PostgreSQL, which can be cut in all the ways that wires are."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.server.postgres import PostgresServer


class Wire:
    """Hands connections on to the server's socket. A context manager."""

    def __init__(self, server: PostgresServer) -> None:
        self._socket = Path(server.folder) / ".s.PGSQL.5432"
        self._listener: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        """The storage's ends."""
        self._beyond: set[asyncio.StreamWriter] = set()
        """The database's."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.refusing = False
        """Whether new connections are broken off at once."""
        self.mute = False
        """Whether answers get lost on their way; what is asked arrives."""
        self.mute_after: bytes | None = None
        """Mute once this was asked."""

    def url(self, database_url: str) -> str:
        """Return the URL of a database as it is reached over the wire."""
        assert self._listener is not None
        port = self._listener.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}{urlsplit(database_url).path}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut()
        self._abort(self._beyond)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Break off all connections; both sides notice."""
        self._abort(self._links)

    def forsake(self) -> None:
        """Break off all connections so that the database notices nothing."""
        for link in list(self._links):
            self._links.discard(link)
            link.transport.abort()

    def _abort(self, ends: set[asyncio.StreamWriter]) -> None:
        for end in list(ends):
            end.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            answers, onward = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            writer.transport.abort()
            return
        self._links.add(writer)
        self._beyond.add(onward)
        asking = asyncio.create_task(self._pump(reader, onward, answers=False))
        answering = asyncio.create_task(self._pump(answers, writer, answers=True))
        await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
        if writer in self._links:
            onward.transport.abort()
        writer.transport.abort()
        await asyncio.wait([asking, answering])
        onward.transport.abort()
        self._links.discard(writer)
        self._beyond.discard(onward)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not answers and self.mute_after is not None and self.mute_after in data:
                    self.mute, self.mute_after = True, None
                if answers and self.mute:
                    continue
                writer.write(data)
                await writer.drain()
