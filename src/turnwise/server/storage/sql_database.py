"""What runs jobs: a database whose writes are committed before they are acknowledged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from turnwise.server.ids import Clock, NewId
from turnwise.server.storage.jobs.rows import Database

__all__ = ["SURROGATES", "TAKEN", "TOO_LARGE", "Job", "SqlDatabase", "Written"]

T = TypeVar("T")

Job = Callable[[Database], T]
"""Reads and writes through the database it is given, inside a transaction it neither begins nor ends.

It may be called a second time, after everything its first call did was undone.
"""

SURROGATES = "A text holds half of a surrogate pair (U+D800 to U+DFFF), which is no character. Send whole ones."

TOO_LARGE = "A number is too large to be stored. Send one that fits into 64 bits."

TAKEN = "What is to be stored has an id that exists already. Use a new id."


class Written(NamedTuple):
    """Rows that a job writes to, as far as they are known before it runs."""

    conversation: str = ""
    """An id; a turn's conversation need not be named beside it."""
    turns: Sequence[str] = ()
    channels: Sequence[tuple[str, str]] = ()
    """Accounts and channels."""


class SqlDatabase(ABC):
    """Runs jobs, and translates what a database refuses into errors of the domain."""

    _clock: Clock
    _new_id: NewId

    @abstractmethod
    async def _write(
        self, job: Job[T], *, to: str = "", turns: Sequence[str] = (), channels: Sequence[tuple[str, str]] = ()
    ) -> T:
        """Run a job and commit it; return what it returned.

        `to` names the conversation it writes to, `turns` and `channels` likewise, a turn's conversation being meant
        with it: so that what is committed side by side locks its rows in one order.
        """

    @abstractmethod
    async def _read(self, job: Job[T]) -> T:
        """Run a job that writes nothing."""
