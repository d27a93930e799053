"""Events and items as bytes: JSON lines, server-sent events, CSV."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from typing import Final

import msgspec

from turnwise.server.negotiate import Form
from turnwise.types.event import Event

__all__ = ["CsvTable", "ascii_json", "encode_events"]

LINES: Final = msgspec.json.Encoder()


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be").hex()
    return "".join([f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)]), error.end


codecs.register_error("turnwise.json", _escape)


def ascii_json(text: bytes) -> bytes:
    r"""Return the same JSON in ASCII, everything else as `\uXXXX`: clients break characters at a chunk's edge."""
    return text if text.isascii() else text.decode().encode("ascii", "turnwise.json")


def encode_events(events: Sequence[Event], form: Form) -> bytes:
    """Return events as JSON lines, or as server-sent events, in ASCII, ready to be sent at once."""
    lines = ascii_json(LINES.encode_lines(events))
    if form is not Form.SSE:
        return lines
    frames = [
        b"event: %b\ndata: %b\n\n" % (str(event.__struct_config__.tag).encode(), line)
        for event, line in zip(events, lines.split(b"\n"), strict=False)
    ]
    return b"".join(frames)


class CsvTable:
    """Rows as CSV, their columns those of the first row; objects as JSON."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def encode(self, items: Sequence[msgspec.Struct]) -> bytes:
        """Return further rows, the very first ones under a header."""
        out = io.StringIO()
        writer = csv.writer(out)
        for item in items:
            row: dict[str, object] = msgspec.to_builtins(item)
            if not self._columns:
                self._columns = list(row)
                writer.writerow(self._columns)
            writer.writerow([_cell(row.get(column)) for column in self._columns])
        return out.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
