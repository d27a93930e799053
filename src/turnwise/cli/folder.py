"""Where the terminal keeps its files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """Return Turnwise's folder among the user's data, for nobody else to read.

    It is made if it is not there. Where that is not possible, what is kept in it is not kept.
    """
    from platformdirs import user_data_path

    folder = user_data_path("turnwise", appauthor=False)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
