"""A worker process, seen from its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time

from turnwise.server.workers.control import Failed, Retire, Start, report_of, written

__all__ = ["WorkerFailed", "WorkerMisled", "WorkerProcess"]


class WorkerFailed(Exception):
    """A worker ended before it was ready; the message says why, as far as it is known."""


class WorkerMisled(WorkerFailed, ValueError):
    """It ended because of what was set, or given on the command line."""


class WorkerProcess:
    """A process that serves on a socket it was given."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ended = asyncio.create_task(process.wait())
        self._began = time.monotonic()
        self._listening: asyncio.Task[None] | None = None
        self.missed = 0
        """Beats that it should have given since its last one; whoever waits for them counts."""

    @classmethod
    async def start(cls, listening: socket.socket, start: Start) -> WorkerProcess:
        """Start a process. Nothing that is secret stands in its arguments. Raises `WorkerFailed`."""
        try:
            return await cls._start(listening, start)
        except OSError as error:
            raise WorkerFailed(f"The system starts no more processes: {error}.") from error

    @classmethod
    async def _start(cls, listening: socket.socket, start: Start) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = theirs.fileno(), listening.fileno()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the folder that the server was started in holds no modules of it
                "-m",
                "turnwise.server.workers.worker",
                *map(str, inherited),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=inherited,
                process_group=0,  # Ctrl-C is for the supervisor, which tells the workers
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        writer.write(written(start))
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    async def ready(self) -> None:
        """Wait until it accepts connections. Raises `WorkerFailed`."""
        line = await self._read()
        report = report_of(line) if line.endswith(b"\n") else None
        if isinstance(report, Failed):
            await self.ended()
            raise WorkerMisled(report.message) if report.usage else WorkerFailed(report.message)
        if report is None:
            how = await self.ended()
            raise WorkerFailed(f"A worker process ended {how} before it was ready. What it said is in the log.")
        self._listening = asyncio.create_task(self._listen())

    async def ended(self) -> str:
        """Wait until it has ended; say how."""
        code = await asyncio.shield(self._ended)
        self._writer.close()
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"

    def retire(self) -> None:
        """Tell it to leave its socket to its successor."""
        self._writer.write(written(Retire()))

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _listen(self) -> None:
        while await self._read():  # from one that is ready there is nothing but beats
            self.missed = 0

    async def _read(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""
