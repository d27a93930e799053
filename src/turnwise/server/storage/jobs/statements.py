"""SQL by name, from the files in `sql/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["load"]

_FOLDER: Final = Path(__file__).parent.parent / "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_INCLUDED: Final = re.compile(r"\{(\w+)\}")


def load(noun: str) -> dict[str, str]:
    """Return the statements of `sql/{noun}.sql`; `{name}` stands for the statement of that name, further up."""
    parts = _NAME.split((_FOLDER / f"{noun}.sql").read_text(encoding="utf-8"))[1:]
    statements: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        statements[name] = _INCLUDED.sub(lambda match: statements[match[1]], text).strip()
    return statements
