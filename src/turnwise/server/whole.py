"""Requests that are here as a whole, and answers that are sent as a whole, without ASGI's messages.

Most requests arrive in one piece and are answered in one. This does with them what uvicorn's cycle does with a body
that is complete, and with a head and a body that follow each other at once, in one step each and one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from turnwise.server.connection import GatheringTransport
    from turnwise.server.exchange import Header

__all__ = ["WholeRequest"]


class Preamble:
    """What uvicorn puts before the headers of every answer, as it is sent; it changes once a second."""

    def __init__(self) -> None:
        self._headers: Sequence[Header] = ()
        self._encoded = b""
        self._lasts = True

    def of(self, headers: Sequence[Header]) -> bytes | None:
        """Return these headers encoded; `None` where they end the connection."""
        if headers is not self._headers:
            self._lasts = all(name.lower() != b"connection" for name, _ in headers)
            self._encoded = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._headers = headers
        return self._encoded if self._lasts else None


_preamble: Final = Preamble()


class WholeRequest:
    """A request of uvicorn's that has arrived, and its answer."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """Take the body; `None` where the client is gone already."""
        cycle = self._cycle
        if cycle.disconnected:
            return None
        body = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.message_event.clear()
        return body

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> bool:
        """Send an answer; `False` where uvicorn must do it: it is the connection's last one, or there is no room."""
        cycle = self._cycle
        preamble = _preamble.of(cycle.default_headers)
        if (
            preamble is None
            or not cycle.keep_alive
            or cycle.response_started
            or cycle.disconnected
            or cycle.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        head = b"\r\n".join(map(b": ".join, headers))
        if not head.count(b"\n") == head.count(b"\r") == len(headers) - 1:
            raise RuntimeError("a header's value holds the end of a line")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        transport = cast("GatheringTransport", cycle.transport)
        transport.write_whole(b"".join((STATUS_LINE[status], preamble, head, b"\r\n\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True
