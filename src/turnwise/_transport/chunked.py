"""Chunked transfer coding, undone in bulk.

Servers send a streamed event as a chunk of its own, and the standard library reads a chunk with several calls. Here
all chunks of a received block are taken off at once.
"""

from __future__ import annotations

from itertools import repeat

__all__ = ["ChunkedBody"]


class ChunkedBody:
    """Takes the framing off a body; a block may begin and end anywhere."""

    def __init__(self) -> None:
        self.done = False
        """Whether the body is complete."""
        self.broken = False
        """Whether the framing stopped making sense."""
        self.surplus = b""
        """What came after the end of the body."""
        self._tail = b""
        self._missing = 0  # of the chunk begun, its closing line break included
        self._trailers = False

    def feed(self, block: bytes) -> bytes:
        """Return what `block` holds of the body, up to where it is broken."""
        data = self._tail + block if self._tail else block
        parts: list[bytes] = []
        position = self._finish_chunk(data, parts) if self._missing else 0
        if not self._missing and not self._trailers:
            position = _take_whole(data, position, parts)
        while not self._missing and not self._trailers:
            end = data.find(b"\r\n", position)
            if end < 0:
                break
            size = _size(data[position:end])
            if size < 0:
                self.broken = True
                break
            position = end + 2
            if not size:
                self._trailers = True
                break
            stop = position + size
            parts.append(data[position:stop])
            self._missing = max(0, stop + 2 - len(data))
            position = stop + 2
        self._tail = data[position:]
        if self._trailers:
            self._read_trailers()
        return b"".join(parts)

    def _finish_chunk(self, data: bytes, parts: list[bytes]) -> int:
        taken = min(self._missing, len(data))
        parts.append(data[: max(0, min(taken, self._missing - 2))])
        self._missing -= taken
        return taken

    def _read_trailers(self) -> None:
        while not self.done:
            line, found, rest = self._tail.partition(b"\r\n")
            if not found:
                return
            self._tail = rest
            self.done = not line
        self.surplus, self._tail = self._tail, b""


def _take_whole(data: bytes, position: int, parts: list[bytes]) -> int:
    """Take the whole chunks at once, if none holds a line break of its own; return where the rest begins.

    Split at line breaks, sizes and chunks take turns. Where every chunk has its size, the split is the framing.
    """
    pieces = data[position:].split(b"\r\n")
    rest = len(pieces.pop())
    if len(pieces) % 2:
        rest += len(pieces.pop()) + 2
    chunks = pieces[1::2]
    lengths = list(map(len, chunks))
    try:
        if 0 in lengths or list(map(int, pieces[::2], repeat(16))) != lengths:
            return position
    except ValueError:
        return position
    parts += chunks
    return len(data) - rest


def _size(line: bytes) -> int:
    """The size of a chunk; -1 where it is none."""
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        return -1
