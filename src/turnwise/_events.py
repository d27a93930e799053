"""Lines of a stream to typed events.

A block of lines is decoded at once, which is several times faster than line by line. Only where that fails (a type
or a shape that is not declared) is each line read by itself, and what is not known becomes an `UnknownEvent`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import msgspec

from turnwise._decode import decoder_of
from turnwise._errors import DecodeError
from turnwise.types._base import Milliseconds, Result, keep, kept_source
from turnwise.types.event import Event, ItemEvent, ResultEvent, UnknownEvent

__all__ = ["EventDecoder", "is_json", "keep_data"]


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Times(msgspec.Struct, frozen=True, rename="camel"):
    created_at: Milliseconds | None = None
    seq: int | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_times = msgspec.json.Decoder(_Times)
_data = msgspec.json.Decoder()
FAILURES = (msgspec.DecodeError, UnicodeDecodeError)


class EventDecoder:
    """Decodes the events of one kind of stream; `owes_result` says whether `result` must be as declared."""

    def __init__(self, events: object, *, owes_result: bool) -> None:
        self._decoder = decoder_of(events)
        self._owes_result = owes_result
        self.request_id: str | None = None
        """The request that the stream answers, for errors."""

    def decode(self, lines: bytes) -> Iterable[Event]:
        """Return the events of whole lines, each with its own bytes. Blank lines are passed over.

        Raises:
            DecodeError: a line is no event at all; raised when its turn comes, after the events before it.
        """
        sources = [line for line in lines.split(b"\n") if line.strip()]
        try:
            events = cast("list[Event]", self._decoder.decode_lines(lines))
        except FAILURES:
            return map(self._one, sources)
        if len(events) != len(sources):
            return map(self._one, sources)
        for event, source in zip(events, sources, strict=True):
            vars(event)["_source"] = source  # what keep() does, without a call for every token
        return events

    def _one(self, line: bytes) -> Event:
        try:
            event = cast("Event", self._decoder.decode(line))
        except FAILURES as problem:
            event = self._unknown(line, problem)
        keep(event, line)
        return event

    def _unknown(self, line: bytes, problem: Exception) -> UnknownEvent:
        try:
            envelope = _envelope.decode(line)
            data = _data.decode(envelope.data)
        except FAILURES:
            raise self._error("A line of the stream is no event", problem, line) from problem
        if envelope.type == "result" and self._owes_result:
            raise self._error("The stream's result is not what this operation answers", problem, line)
        try:
            times = _times.decode(line)
        except FAILURES:
            times = _Times()
        return UnknownEvent(type=envelope.type, data=data, created_at=times.created_at, seq=times.seq)

    def _error(self, message: str, problem: Exception, line: bytes) -> DecodeError:
        return DecodeError(f"{message}: {problem}", body=line, request_id=self.request_id)


def is_json(line: bytes) -> bool:
    """Return whether `line` is a whole JSON value."""
    try:
        _data.decode(line)
    except FAILURES:
        return False
    return True


def keep_data(event: ResultEvent[object] | ItemEvent[object]) -> None:
    """Let the data of an event, which people hold on to without the event, remember its own bytes."""
    source = kept_source(event)
    if source is not None and isinstance(event.data, Result):
        keep(event.data, bytes(_envelope.decode(source).data))
