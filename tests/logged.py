"""What servers that are processes of their own logged, as short as a failed test wants to show it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["logged_in"]

MOST_LINES: Final = 100
LONGEST_LINE: Final = 300
LONGEST_TRACE: Final = 25
"""Lines of a traceback, the last ones."""
QUIET: Final = frozenset({"debug", "info"})

HEAD: Final = re.compile(r"\d{4}-\d\d-\d\dT(?P<time>[\d:.]+)Z (?P<level>[a-z]+) (?P<message>.*)")
SECRET: Final = re.compile(r"(?<=://)[^/\s@]*(?=@)|\btw[_-][\w-]{6,}|\bsk-[\w-]{6,}|(?<=[Bb]earer )\S+")
VARYING: Final = re.compile(r"[0-9a-f]{12,}|\d+")


@dataclass
class Record:
    """A line of a log, with the traceback that follows it."""

    time: str
    level: str
    message: str
    trace: list[str] = field(default_factory=list[str])
    count: int = 1
    until: str = ""
    """When the last of them was logged, where there are several."""

    @property
    def kind(self) -> str:
        """What is the same in records that tell of the same."""
        return VARYING.sub("#", "\n".join([self.level, self.message, *self.trace]))

    def lines(self) -> Iterator[str]:
        times = (
            f"{self.time} {self.level}" if self.count == 1 else f"{self.time}-{self.until} {self.count} x {self.level}"
        )
        yield f"{times} {self.message}".strip()
        if len(self.trace) > LONGEST_TRACE:
            yield "  ..."
        yield from self.trace[-LONGEST_TRACE:]


class JsonRecord(msgspec.Struct):
    """A line, where the log is JSON."""

    time: str
    level: str
    message: str
    trace: str = ""


def logged_in(folder: Path) -> str:
    """Return what the logs in a folder say, request lines left out and repetitions counted; the last lines of it."""
    lines: list[str] = []
    for log in sorted(folder.rglob("*.log")):
        said = list(_lines(_records(log.read_text(errors="replace").splitlines())))
        if said:
            lines += [f"{log.name}:", *said]
    if len(lines) > MOST_LINES:
        lines = [f"(the last {MOST_LINES} of {len(lines)} lines)", *lines[-MOST_LINES:]]
    return SECRET.sub("...", "\n".join(line[:LONGEST_LINE] for line in lines))


def _records(lines: Iterable[str]) -> Iterator[Record]:
    record: Record | None = None
    for line in lines:
        begun = _begun(line)
        if begun is not None or record is None:
            if record is not None:
                yield record
            record = begun or Record("", "", line)
        else:
            record.trace.append(line)
    if record is not None:
        yield record


def _begun(line: str) -> Record | None:
    if line.startswith("{"):
        try:
            said = msgspec.json.decode(line, type=JsonRecord)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return Record(said.time[11:-1], said.level, said.message, said.trace.splitlines())
    head = HEAD.match(line)
    return None if head is None else Record(head["time"], head["level"], head["message"])


def _lines(records: Iterable[Record]) -> Iterator[str]:
    known: dict[str, Record] = {}
    for record in records:
        if record.level in QUIET and not record.trace:
            continue
        earlier = known.setdefault(record.kind, record)
        if earlier is not record:
            earlier.count += 1
            earlier.until = record.time
    for record in known.values():
        yield from record.lines()
