"""What to send and how to read the answer; nothing here performs I/O.

An endpoint is a pure function that returns one of these. A runner (`_runner.py`) performs it, synchronously or
asynchronously; `_bind.py` turns the function into a method of either kind of client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

import msgspec

from turnwise.types._base import Request

__all__ = [
    "Call",
    "CallOptions",
    "Exchange",
    "PageCall",
    "StreamCall",
    "StreamableCall",
    "StreamablePages",
    "Timeout",
]

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Bounds in seconds; `None` is none."""

    connect: float | None = 10.0
    """To reach the server."""
    idle: float | None = 60.0
    """Between two bytes of an answer, and before the first."""
    total: float | None = None
    """Of one attempt, from connecting to the last byte read; the waits between retries do not count."""


class CallOptions(TypedDict, total=False):
    """What every call takes beside its own arguments."""

    timeout: float | Timeout | None
    """A number bounds each attempt as a whole, in seconds; a `Timeout` says more; `None` waits for ever."""
    retries: int
    """How often a failed call is tried again; 3 unless the client says otherwise."""
    extra_headers: Mapping[str, str]
    """Headers beside the client's own; they win."""
    extra_query: Mapping[str, object]
    """Query parameters beside the call's own; they win."""
    extra_body: Mapping[str, object]
    """Body fields beside the call's own, by their wire names; they win."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP exchange, before options of the client are applied: a Struct, because one is made for every call.

    `path` is a template such as `/api/v1/conversation/{conversationId}/send`; `ids` fill its braces in order,
    percent-encoded. `query` is left out where a value is `None` or `OMIT`; a mapping value is flattened to `key.sub`.
    """

    method: str
    path: str
    """A path under the client's origin, or a whole address."""
    ids: tuple[str, ...] = ()
    query: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    body: Request | Mapping[str, object] | None = None
    options: CallOptions = msgspec.field(default_factory=CallOptions)
    patient: bool = False
    """Whether the answer may be silent while a model works (600 s between bytes instead of 60)."""
    content: bytes | None = None
    """A body that is encoded already, sent as it is in place of `body`, under `content_type`."""
    content_type: str = "application/octet-stream"
    template: str | None = None
    """What the `endpoints` option knows this path by, where `path` is no template itself."""
    external: bool = False
    """Whether the exchange leaves for somebody else: without the secret and the run-as headers."""


class Call(Exchange, Generic[T], frozen=True, kw_only=True):
    """One exchange that ends in one value."""

    result: type[T]


class StreamCall(Exchange, Generic[T, R], frozen=True, kw_only=True):
    """One exchange that yields events of the union `events`.

    With `result` the stream ends in exactly one `result` event of that type and an end without it is an
    interruption; without it the stream simply ends.
    """

    events: object
    """The tagged union to decode, for example `CompleteEvent`."""
    result: type[R]
    """The type of the last event's data; `NoneType` where there is none."""


class PageCall(Exchange, Generic[T], frozen=True, kw_only=True):
    """A walk over pages: the first exchange; the following ones carry the last answer's cursor."""

    item: type[T]
    cursor: str | None = None


class StreamableCall(Call[T], Generic[T, E], frozen=True, kw_only=True):
    """One exchange that can be had whole, or as a stream of events of the union `events` that ends in a `T`."""

    events: object

    def stream(self) -> StreamCall[E, T]:
        """Return the same exchange, streamed. Keep-alive events come while a model works: no patience is needed."""
        return StreamCall(
            method=self.method,
            path=self.path,
            ids=self.ids,
            query=self.query,
            body=self.body,
            options=self.options,
            events=self.events,
            result=self.result,
        )


class StreamablePages(PageCall[T], Generic[T, E], frozen=True, kw_only=True):
    """A walk over pages that can be had as one stream of `item` events, which the server walks by itself."""

    events: object

    def stream(self) -> StreamCall[E, None]:
        """Return the same walk, streamed from the same place."""
        return StreamCall(
            method=self.method,
            path=self.path,
            ids=self.ids,
            query={**self.query, "cursor": self.cursor},
            options=self.options,
            events=self.events,
            result=type(None),
        )
