"""Bugs planted in the journal's statements, over either database: the tests must find them out."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Final, cast

from turnwise.server.storage.jobs.turns import SQL
from turnwise.server.storage.postgres_connection import _translated

__all__ = ["HELD", "MUTANTS", "plant"]

HELD: Final = ("mine", "run_stateless", "step", "settle", "unfinished_of")
"""The statements that look whether a turn is still the writer's."""

MUTANTS: Final = {
    "ignores the attempt": (r"\battempt = (\?|\$\d+)", r"(attempt = \1 OR TRUE)"),
    "ignores the process": (r"\bowner = (\?|\$\d+)", r"(owner = \1 OR TRUE)"),
    "skips the lease": (r"p\.lease_until > CAST\(", "0 < CAST("),
    "writes turns that have ended": (r"(?:\w+\.)?\bended_at IS NULL", "TRUE"),
    "takes every process for dead": (r"\blease_until > CAST\(", "lease_until > 8640000000000000 + CAST("),
}


def plant(name: str, mutant: str, statements: MutableMapping[str, str] = SQL) -> bool:
    """Plant a bug in a statement; tell whether it has what the bug is in."""
    right, wrong = MUTANTS[mutant]
    honest = SQL[name]
    cheating, count = re.subn(right, wrong, honest)
    if not count:
        return False
    for writing in (False, True):
        translated = cast("dict[str, str]", _translated(writing=writing))
        translated[cheating], also = re.subn(right, wrong, translated[honest])
        assert also, f"PostgreSQL says {name!r} so differently that it would stay honest"
    statements[name] = cheating
    return True
