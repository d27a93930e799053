"""Where the terminal keeps its files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """Return Turnwise's folder among the user's data, made if it is not there, for nobody else to read."""
    from platformdirs import user_data_path

    folder = user_data_path("turnwise", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
