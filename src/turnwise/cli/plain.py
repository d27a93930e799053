"""Text that cannot steer a terminal."""

from __future__ import annotations

__all__ = ["plain"]

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def plain(text: str) -> str:
    """Return `text` without control characters, line ends and tabs excepted: what a model or a stranger wrote."""
    return text.translate(_CONTROLS)
