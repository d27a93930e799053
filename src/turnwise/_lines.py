r"""Bytes to lines, split on `\n` only.

JSON may hold U+2028 and other characters that `str.splitlines` splits at, and a line or a character may be cut
anywhere by the network; so the bytes are split before anything is decoded.
"""

from __future__ import annotations

__all__ = ["LineBuffer"]


class LineBuffer:
    """Collects blocks of bytes and gives back whole lines, many at a time."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []

    def feed(self, block: bytes) -> bytes:
        """Return the whole lines that are here now, as one piece; what follows the last line break waits."""
        end = block.rfind(b"\n") + 1
        if not end:
            if block:
                self._begun.append(block)
            return b""
        lines = block[:end]
        if self._begun:
            lines = b"".join((*self._begun, lines))
            self._begun.clear()
        if end < len(block):
            self._begun.append(block[end:])
        return lines

    def close(self) -> bytes:
        """Return the last line, where it came without a line break."""
        rest = b"".join(self._begun)
        self._begun.clear()
        return rest
