"""A storage from a database URL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from turnwise.server.storage.journal import JournaledStorage
from turnwise.server.storage.sqlite import SqliteStorage

__all__ = ["storage_at"]

_EXPECTED: Final = "Expected sqlite:////absolute/path.db or sqlite:///relative/path.db."


def storage_at(url: str) -> JournaledStorage:
    """Return the storage that `url` names, not opened yet; `ValueError` for one that names none.

    `sqlite:////absolute/path.db` and `sqlite:///relative/path.db` are files; `~` stands for the home folder.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"The database {url!r} is not a URL. {_EXPECTED}")
    if scheme.startswith("postgres"):
        raise ValueError(f"PostgreSQL comes with a later version of Turnwise. {_EXPECTED}")
    if scheme != "sqlite":
        raise ValueError(f"Databases of the kind {scheme}:// are not supported. {_EXPECTED}")
    if not rest.startswith("/") or rest.endswith("/"):
        raise ValueError(f"The database URL names no file. {_EXPECTED}")
    if rest == "/:memory:":
        raise ValueError(f"A database in memory alone would be lost. {_EXPECTED}")
    return SqliteStorage(Path(rest[1:]).expanduser())
