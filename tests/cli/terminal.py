"""A program in a terminal of its own, typed at and read from."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator

__all__ = ["CTRL_C", "CTRL_D", "ENTER", "ESCAPE", "Terminal", "terminal"]

CTRL_C, CTRL_D, ENTER, ESCAPE = "\x03", "\x04", "\r", "\x1b"

# The terminal has to be the controlling one for Ctrl-C to be a signal.
_START = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_SEQUENCE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>]")
_PATIENCE = 60.0


class Terminal:
    """What a person does at a keyboard and sees on a screen."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._process = process
        self.raw = ""
        self._read = 0

    @property
    def text(self) -> str:
        """Everything that was written, without its escape sequences."""
        return _SEQUENCE.sub("", self.raw).replace("\r", "")

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def expect(self, pattern: str) -> float:
        """Wait for text after all that was expected before; return when it was there."""
        deadline = time.monotonic() + _PATIENCE
        while (found := re.compile(pattern).search(self.text, self._read)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} did not come: {self.text[self._read :]!r}"
            assert self._more(), f"the program ended without {pattern!r}: {self.text[self._read :]!r}"
        self._read = found.end()
        return time.monotonic()

    def status(self) -> int:
        """Wait for the program's end."""
        deadline = time.monotonic() + _PATIENCE
        while self._more():
            assert time.monotonic() < deadline, f"the program does not end: {self.text[self._read :]!r}"
        return self._process.wait(timeout=_PATIENCE)

    def _more(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], 0.05)
        if not ready:
            return True
        try:
            block = os.read(self._descriptor, 65536)
        except OSError:
            return False
        self.raw += block.decode(errors="replace")
        return bool(block)


@contextlib.contextmanager
def terminal(*command: str, **environment: str) -> Generator[Terminal]:
    """Run a command in a new terminal of 80 columns and 24 rows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**variables, "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
