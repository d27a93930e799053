"""The processes that benchmarks start: each says where it listens, tells what it used, and is stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import urllib3

__all__ = ["ROOT", "BenchmarkServer", "Process", "free_port", "idle_seconds", "wait_for_http"]

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """A child process, stopped at the latest when its `with` block ends."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self.started = time.perf_counter()
        self._popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def write_line(self, line: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(line.encode() + b"\n")
        self._popen.stdin.flush()

    def read_line(self) -> str:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._popen.args!r} ended with status {self._popen.wait()} before it answered")
        return line.decode().strip()

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far. Linux only, like `memory_megabytes`."""
        fields = Path(f"/proc/{self._popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_megabytes(self) -> float:
        """Resident memory, of its children too."""
        return sum(_resident_kilobytes(pid) for pid in _family(self._popen.pid)) / 1024

    def stop(self) -> None:
        """Ask it to end, and insist after 10 seconds."""
        if self.running:
            self._popen.terminate()
            try:
                self._popen.wait(10)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


class BenchmarkServer(Process):
    """A server of `benchmarks/servers`, which prints its port when it listens."""

    def __init__(self, name: str, *arguments: str) -> None:
        super().__init__([sys.executable, "-m", f"benchmarks.servers.{name}", *arguments])
        try:
            self.port = int(self.read_line())
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def idle_seconds() -> float:
    """The time that all cores together have been idle. Linux only."""
    return int(Path("/proc/stat").read_text().split(maxsplit=5)[4]) / os.sysconf("SC_CLK_TCK")


def wait_for_http(process: Process, url: str, *, at_most: float = 30.0) -> float:
    """Wait until `url` answers 200; return the seconds since the process was started."""
    with urllib3.PoolManager(retries=False) as pool:
        while time.perf_counter() - process.started < at_most:
            if not process.running:
                raise RuntimeError(f"the server ended before {url} answered; its own message is above")
            try:
                if pool.request("GET", url, timeout=1.0).status == 200:
                    return time.perf_counter() - process.started
            except urllib3.exceptions.HTTPError:
                pass
            time.sleep(0.005)
    raise TimeoutError(f"{url} did not answer within {at_most:g} s")


def _family(pid: int) -> list[int]:
    family = [pid]
    for parent in family:
        children = Path(f"/proc/{parent}/task/{parent}/children")
        if children.exists():
            family.extend(int(child) for child in children.read_text().split())
    return family


def _resident_kilobytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
