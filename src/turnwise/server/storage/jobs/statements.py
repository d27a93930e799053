"""SQL by name, from the files in `sql/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["load"]

_FOLDER: Final = Path(__file__).parent.parent / "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_INCLUDED: Final = re.compile(r"\{(\w+)\}")


def load(noun: str, *, dialect: str | None = None) -> dict[str, str]:
    """Return the statements of `sql/{noun}.sql`; `{name}` stands for the statement of that name, further up.

    Those that `sql/{dialect}_{noun}.sql` has too are replaced by its own, and what only that one has comes last.
    """
    written = _read(noun)
    if dialect is not None:
        written |= _read(f"{dialect}_{noun}")
    statements: dict[str, str] = {}
    for name, text in written.items():
        statements[name] = _INCLUDED.sub(lambda match: statements[match[1]], text).strip()
    return statements


def _read(name: str) -> dict[str, str]:
    """Return the statements of a file as they are written; none where there is no such file."""
    path = _FOLDER / f"{name}.sql"
    parts = _NAME.split(path.read_text(encoding="utf-8"))[1:] if path.exists() else []
    return dict(zip(parts[::2], parts[1::2], strict=True))
