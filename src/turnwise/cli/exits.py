"""How a command ends: its exit status, and what it says when it fails.

| status | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | the command line is wrong |
| 3 | not authenticated |
| 4 | not found |
| 130 | interrupted with Ctrl-C |
"""

from __future__ import annotations

import re
from enum import IntEnum

__all__ = ["CommandFailed", "ExitStatus", "explain", "status_of"]


class ExitStatus(IntEnum):
    """What a command's caller can tell from its status."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_AUTHENTICATED = 3
    NOT_FOUND = 4
    INTERRUPTED = 130


_REFUSAL = re.compile(r"\[4\d\d [A-Z_]+(?:, request \w+)?\]")
"""What only a program, or the server's operator, needs to know of a refusal; of a server's failure it is shown."""

_BY_STATUS = {401: ExitStatus.NOT_AUTHENTICATED, 404: ExitStatus.NOT_FOUND}


class CommandFailed(Exception):
    """A command cannot go on; the message says why and what to do next."""

    def __init__(self, message: str, *, status: ExitStatus = ExitStatus.FAILED) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: Exception) -> ExitStatus:
    """Return the exit status for an error of the client, of the server's parts or of a command."""
    if isinstance(error, CommandFailed):
        return error.status
    return _BY_STATUS.get(getattr(error, "status", 0), ExitStatus.FAILED)


def explain(error: Exception) -> str | None:
    """Say in one line what went wrong and what to do next; `None` for what nobody foresaw."""
    if isinstance(error, CommandFailed) or type(error).__module__.startswith("turnwise."):
        return " ".join(_told(error).split())
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return " ".join(str(error).split())
    return None


def _told(error: Exception) -> str:
    status, message = getattr(error, "status", None), str(error.args[0]) if error.args else ""
    # A server of ours says itself what to do; the client's advice, and the request's id, are for what it left open.
    says_what_to_do = status in {400, 422} or (status is not None and status != 500 and ". " in message)
    return message if says_what_to_do else _REFUSAL.sub("", str(error))
