"""The server's log: one line a request, on stderr, never with a secret or a message's text."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from turnwise.server.errors import Unavailable
from turnwise.server.exchange import HttpExchange

__all__ = ["LogFormat", "LogLevel", "configure_logging", "log_request"]

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

requests: Final = logging.getLogger("turnwise.server.request")
_ABOVE: Final = logging.getLogger("turnwise.server"), logging.getLogger("turnwise")
FIELDS: Final = "fields"
REQUEST: Final = "request"
HELD_FOR: Final = 0.05
LINES_AT_ONCE: Final = 500


Told = tuple[float, tuple[object, ...]]
"""A request that is to be logged: the moment, and the fields' values. To make lines of many at a time is cheaper."""

NAMES: Final = ("id", "account", "method", "route", "status", "ms", "first_ms")
"""The fields of a request. `first_ms` is how long it took until a streamed answer began; others have none."""

PAIRS: Final = {
    count: "".join([f" {name}={'%.2f' if name.endswith('ms') else '%s'}" for name in NAMES[:count]])
    for count in (len(NAMES) - 1, len(NAMES))
}


def log_request(exchange: HttpExchange, begun: float, ended: float) -> None:
    """Log a request that was answered (status 499: the client did not wait for an answer)."""
    if not requests.isEnabledFor(logging.INFO):
        return
    principal, first = exchange.principal, exchange.begun_at
    values: tuple[object, ...] = (
        exchange.request_id,
        "-" if principal is None else principal.account_id,
        exchange.scope["method"],
        exchange.route or "-",
        exchange.status or 499,
        (ended - begun) * 1000,
    )
    if first is not None:
        values = (*values, (first - begun) * 1000)
    handler = _alone_in_charge()
    if handler is not None:
        handler.tell((time.time(), values))
    else:
        requests.info(REQUEST, extra={FIELDS: _fields(values)})


def _fields(values: tuple[object, ...]) -> dict[str, object]:
    return {
        name: round(value, 2) if type(value) is float else value for name, value in zip(NAMES, values, strict=False)
    }


def _plain(value: object) -> object:
    """Return a value as text shows it: a number that is not whole with two digits."""
    return f"{value:.2f}" if type(value) is float else value


def _alone_in_charge() -> BufferedHandler | None:
    """Return our handler where nobody else listens: it needs no record, which costs more than the line."""
    root = logging.root.handlers
    if (
        len(root) == 1
        and isinstance(root[0], BufferedHandler)
        and not (requests.handlers or _ABOVE[0].handlers or _ABOVE[1].handlers)
    ):
        return root[0]
    return None


class LineFormatter(logging.Formatter):
    """Writes a record as `time level logger message key=value ...`, or as one JSON object."""

    def __init__(self, form: LogFormat, common: Mapping[str, object] | None = None) -> None:
        """`common` are fields of every line."""
        super().__init__()
        self._form = form
        self._common = dict(common or {})
        self._second = 0
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line (and its traceback's lines, in JSON as one field).

        An `Unavailable` is nothing that a traceback explains: its message follows the record's.
        """
        fields: Mapping[str, object] = record.__dict__.get(FIELDS, {})
        message, trace = record.getMessage(), ""
        if record.exc_info and isinstance(record.exc_info[1], Unavailable):
            message = f"{message}: {record.exc_info[1]}"
        elif record.exc_info:
            trace = self.formatException(record.exc_info)
        level = record.levelname.lower()
        return self.line(record.created, record.name, level, message, fields, trace=trace)

    def request(self, told: Told) -> str:
        """Return the line of a request, as `line` would make it."""
        moment, values = told
        if self._form == "json" or self._common:
            return self.line(moment, requests.name, "info", REQUEST, _fields(values))
        return f"{self._time(moment)} info {REQUEST}{PAIRS[len(values)] % values}"

    def line(
        self, moment: float, name: str, level: str, message: str, fields: Mapping[str, object], *, trace: str = ""
    ) -> str:
        """Return the line of what happened at a moment (seconds since the epoch)."""
        if self._common:
            fields = {**self._common, **fields}
        if self._form == "json":
            line = {"time": self._time(moment), "level": level, "logger": name, "message": message}
            return msgspec.json.encode({**line, **fields, **({"trace": trace} if trace else {})}).decode()
        pairs = "".join([f" {key}={_plain(value)}" for key, value in fields.items()])
        line_break = "\n" if trace else ""
        return f"{self._time(moment)} {level} {message}{pairs}{line_break}{trace}"

    def _time(self, moment: float) -> str:
        second = int(moment)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((moment - second) * 1000):03d}Z"


class BufferedHandler(logging.Handler):
    """Writes to stderr: what is out of order at once, requests within 50 ms, many in one write."""

    def __init__(self, formatter: LineFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._form = formatter
        self._held: list[str | Told] = []

    def tell(self, told: Told) -> None:
        """Write soon what a logger would have made a record of. Never raises, like `emit`."""
        with self.lock or contextlib.nullcontext():
            self._held.append(told)
            if 1 < len(self._held) < LINES_AT_ONCE:
                return
            try:
                self._write_soon(urgent=False)
            except Exception:  # noqa: BLE001 - likewise
                self._fail()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, now or soon."""
        try:
            self._held.append(self.format(record))
            self._write_soon(urgent=record.levelno > logging.INFO)
        except Exception:  # noqa: BLE001 - a log that cannot be written must not break what it tells of
            self.handleError(record)

    def _write_soon(self, *, urgent: bool) -> None:
        if urgent or len(self._held) >= LINES_AT_ONCE:
            self.flush()
        elif len(self._held) == 1:
            self._flush_soon()

    def flush(self) -> None:
        """Write what is held back."""
        with self.lock or contextlib.nullcontext():
            held, self._held = self._held, []
        if held:
            line_of = self._form.request
            lines = [each if isinstance(each, str) else line_of(each) for each in held]
            sys.stderr.write("\n".join([*lines, ""]))
            sys.stderr.flush()

    def _fail(self) -> None:
        self.handleError(logging.LogRecord(requests.name, logging.INFO, "", 0, REQUEST, None, None))

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        super().close()

    def _flush_soon(self) -> None:
        try:
            asyncio.get_running_loop().call_later(HELD_FOR, self.flush)
        except RuntimeError:
            self.flush()


def configure_logging(*, form: LogFormat, level: LogLevel, name_process: bool = False) -> None:
    """Send the logs of this process to stderr; each line has its `pid` where processes are to be named."""
    # What Python's logging documentation names for records that show neither caller, thread nor process.
    logging.__dict__["_srcfile"] = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [BufferedHandler(LineFormatter(form, {"pid": os.getpid()} if name_process else None))]
    root.setLevel(logging.WARNING)
    logging.getLogger("turnwise").setLevel(level.upper())
