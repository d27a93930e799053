"""A server as a process of its own, to be killed, frozen or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

SECRET = "crash-test-secret-0123456789"
SERVE = ("-m", "turnwise", "serve")
SERVE_MUTANT = ("-m", "tests.crash.early_acknowledgement")


class ServerProcess:
    """`turnwise serve`, until it is killed or stopped. `environ` is added to its environment."""

    def __init__(
        self,
        database: Path,
        *,
        url: str | None = None,
        program: tuple[str, ...] = SERVE,
        model: str = "offline",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Serve a database file, or the database at `url`; what is logged goes beside the file."""
        self._log = database.with_suffix(".log").open("ab")
        url = url or f"sqlite:///{database}"
        self._process = subprocess.Popen(
            [sys.executable, *program, "--port", "0", "--database", url, "--model", model],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TURNWISE_SECRET": SECRET, **(environ or {})},
            cwd=Path(__file__).resolve().parents[2],
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        assert line.startswith("listening on "), f"{line!r}; see {self._log.name}"
        self.url = line.removeprefix("listening on ").strip()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        return self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.kill()

    def _end(self, number: signal.Signals) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        return code
