"""How a job tells other processes of what it writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import msgspec

from turnwise.server.encode import ascii_json
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.notices import LARGEST

__all__ = ["Notice", "Teller", "tell"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told: a topic, and the JSON of a body, ASCII, of `LARGEST` bytes at most."""

    topic: str
    body: bytes


class Teller(ABC):
    """A database that tells other processes what its jobs committed."""

    @abstractmethod
    def tell(self, notice: Notice) -> None:
        """Tell once the job is committed; never if it is not."""


def tell(db: Database, topic: str, body: object) -> None:
    """Tell other processes, once this is committed, with the others of the commit; does nothing over SQLite.

    `body` is JSON-able and small: `ValueError` above `LARGEST` bytes.
    """
    if not isinstance(db, Teller):
        return
    encoded = ascii_json(msgspec.json.encode(body))
    if len(encoded) > LARGEST:
        raise ValueError(f"a notice of {topic!r} has {len(encoded)} bytes; {LARGEST} is the most")
    db.tell(Notice(topic, encoded))
