"""The keyboard while an answer is written: what is typed ahead is kept for the prompt and not shown in the answer."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["silent"]


@contextmanager
def silent() -> Generator[None]:
    """Turn off the terminal's echo for the block, where there is such a thing."""
    try:
        import termios

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):
        # No POSIX terminal: `termios.error` is not an OSError, but a terminal was promised by the caller.
        yield
        return
    attributes = termios.tcgetattr(descriptor)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
