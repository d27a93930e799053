"""`turnwise serve`, as a person would start it, on a database of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self

from benchmarks.processes import Process, free_port, wait_for_http

__all__ = ["HEADERS", "SECRET", "TurnwiseServer"]

SECRET = "tw_benchmark_0123456789abcdefghijklmnopqrstuvwxyz"
HEADERS = {"Authorization": f"Bearer {SECRET}", "User-Agent": "turnwise-benchmark"}
UNREACHED = {f"TURNWISE_MAX_ACCOUNT_{kind}": "1000000000" for kind in ("REQUESTS", "MESSAGES", "TOKENS", "TURNS")}
"""Everything is counted as in production, and no limit is in the way."""


class TurnwiseServer(Process):
    """One server process. Its log goes to a file beside the database: it is written, as in production."""

    def __init__(
        self, folder: Path, *, upstream: str | None = None, program: str = "turnwise", database: str | None = None
    ) -> None:
        """Without an upstream, the offline model answers. `program` is another module with the same command line.

        The database is a file in the folder, unless its URL is given.
        """
        self.port = free_port()
        database = database or f"sqlite:///{folder / 'turnwise.db'}"
        command = [sys.executable, "-m", program, "serve", "--port", str(self.port), "--database", database]
        if upstream is None:
            command += ["--model", "offline"]
        else:
            command += ["--openai-base-url", f"{upstream}/v1", "--no-discover"]
        self._log_path = folder / "server.log"
        with self._log_path.open("wb") as log:
            super().__init__(command, environment={"TURNWISE_SECRET": SECRET, **UNREACHED}, stderr=log)

    def listening(self) -> Self:
        """Wait until it answers."""
        try:
            self.seconds_to_listen = wait_for_http(self, f"{self.url}/healthz")
        except Exception as error:
            self.stop()
            error.add_note(f"its log ends with: {self._log_path.read_text()[-2000:]}")
            raise
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
