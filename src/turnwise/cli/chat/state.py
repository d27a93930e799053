"""What the chat remembers from one start to the next: the last conversation of each server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

__all__ = ["LastConversations"]


class LastConversations:
    """Ids by the place that holds them, in a small file. A file that cannot be read or written is no reason to stop."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, place: str) -> str | None:
        """Return the id of the conversation that was talked to last."""
        return self._read().get(place)

    def set(self, place: str, conversation_id: str) -> None:
        """Remember the conversation."""
        known = self._read() | {place: conversation_id}
        unfinished = self._path.with_suffix(".part")
        with suppress(OSError):
            unfinished.write_bytes(msgspec.json.encode(known))
            unfinished.replace(self._path)

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}
