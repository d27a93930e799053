"""The server's log: one line a request, on stderr, never with a secret or a message's text."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from turnwise.server.exchange import HttpExchange

__all__ = ["LogFormat", "LogLevel", "configure_logging", "log_request"]

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

requests: Final = logging.getLogger("turnwise.server.request")
FIELDS: Final = "fields"


def log_request(exchange: HttpExchange, seconds: float) -> None:
    """Log a request that was answered (status 499: the client did not wait for an answer)."""
    if not requests.isEnabledFor(logging.INFO):
        return
    fields = {
        "id": exchange.request_id,
        "account": exchange.principal.account_id if exchange.principal is not None else "-",
        "method": exchange.scope["method"],
        "route": exchange.route or "-",
        "status": exchange.status or 499,
        "ms": round(seconds * 1000, 2),
    }
    requests.info("request", extra={FIELDS: fields})


class LineFormatter(logging.Formatter):
    """Writes a record as `time level logger message key=value ...`, or as one JSON object."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form
        self._second = 0
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line (and its traceback's lines, in JSON as one field)."""
        fields: Mapping[str, object] = record.__dict__.get(FIELDS, {})
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        level = record.levelname.lower()
        if self._form == "json":
            line = {"time": self._time(record), "level": level, "logger": record.name, "message": record.getMessage()}
            return msgspec.json.encode({**line, **fields, **({"trace": trace} if trace else {})}).decode()
        pairs = "".join([f" {key}={value}" for key, value in fields.items()])
        line_break = "\n" if trace else ""
        return f"{self._time(record)} {level} {record.getMessage()}{pairs}{line_break}{trace}"

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int(record.msecs):03d}Z"


def configure_logging(*, form: LogFormat, level: LogLevel) -> None:
    """Send the logs of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("turnwise").setLevel(level.upper())
