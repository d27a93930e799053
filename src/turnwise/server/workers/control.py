"""What the supervisor and a worker tell each other, as lines of JSON over a pair of sockets.

Either side's end is told by the socket's: a worker whose supervisor died stops in good order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

__all__ = ["BETWEEN_BEATS", "Beat", "Failed", "Ready", "Retire", "Start", "order_of", "report_of", "written"]

BETWEEN_BEATS: Final = 1.0
"""Seconds between two signs of life."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Begin to work."""

    flags: Mapping[str, object]
    """What was set by flags of the command; the worker reads the environment and the file itself, as they are then."""
    first: bool = False
    """Whether to do what is done once for all workers: make the first secret, say which model was found."""


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """Leave the socket to the worker that is ready to take the place, end what runs, and go."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Connections are accepted."""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """A sign of life: the event loop goes round."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker ends, for a reason that the operator can do something about."""

    message: str
    usage: bool = False
    """Whether it is something that was set, or given on the command line, that cannot be."""


Order: TypeAlias = Start | Retire
Report: TypeAlias = Ready | Beat | Failed

_orders: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)
_reports: Final[msgspec.json.Decoder[Report]] = msgspec.json.Decoder(Report)


def written(message: Order | Report) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message) + b"\n"


def order_of(line: bytes) -> Order:
    """Read a line of the supervisor's."""
    return _orders.decode(line)


def report_of(line: bytes) -> Report:
    """Read a line of a worker's."""
    return _reports.decode(line)
