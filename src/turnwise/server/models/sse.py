"""Server-sent events, as far as a model server's stream needs them: bytes in, the events' data out.

An event ends at a blank line, so a chunk is cut after its last one and everything before it is handed out at once:
a packet that holds fifty tokens costs one call.
"""

from __future__ import annotations

__all__ = ["MAX_EVENT_BYTES", "EventBuffer", "EventTooLong"]

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""No server sends a longer event; a stream without blank lines must not fill the memory."""


class EventTooLong(Exception):
    """More than `MAX_EVENT_BYTES` arrived without the end of an event."""


class EventBuffer:
    """Finds the `data` lines of complete events, however the bytes were split.

    Lines end in LF or CRLF. Comments and the other fields (`event`, `id`, `retry`) are passed over. An event of
    several data lines gives several entries: JSON on several lines, joined by LF, reads the same.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data lines of the events that `chunk` completes.

        Raises:
            EventTooLong: an event does not end.
        """
        data = self._rest + chunk if self._rest else chunk
        end = len(data) - 2 if data.endswith(b"\n\n") else max(data.rfind(b"\n\n"), data.rfind(b"\n\r\n"))
        if end < 0:
            if len(data) > MAX_EVENT_BYTES:
                raise EventTooLong
            self._rest = data
            return []
        self._rest = data[end + 1 :].lstrip(b"\r\n")
        return _data_lines(data[:end])

    def close(self) -> list[bytes]:
        """Return the data lines of an event that the end of the stream cut off before its blank line."""
        rest, self._rest = self._rest, b""
        return _data_lines(rest)


def _data_lines(block: bytes) -> list[bytes]:
    if block.startswith(b"data: ") and b"\r" not in block:  # what most servers send; reads twice as fast
        lines = block[6:].split(b"\n\ndata: ")
        if block.count(b"\n") == 2 * (len(lines) - 1):
            return lines
    return [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
