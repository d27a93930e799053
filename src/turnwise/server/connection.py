"""Connections with a bound on how long, and how large, a request's head may be, that send no more often than needed."""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Callable
from typing import Final, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from turnwise.server.exchange import WHOLE
from turnwise.server.whole import WholeRequest

__all__ = ["HEAD_BYTES", "BoundedProtocol", "bounded_protocol"]

HEAD_BYTES: Final = 65_536
SOON: Final = 0.01
LINGER: Final = 5.0
"""Seconds in which the rest of a body that nobody wants may still arrive."""


def _nothing_is_unread() -> bool:
    return False


class GatheringTransport:
    """A transport that sends at once what is written to it in one turn of the loop: a head with its body, say.

    The loops' own transports send at every write. That is a system call, and another thread's chance to take the
    interpreter, for each.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        unread: Callable[[], bool] = _nothing_is_unread,
    ) -> None:
        """`unread` tells whether the other side still sends what was answered already."""
        self._transport = transport
        self._loop = loop
        self._unread = unread
        self._written: list[bytes] = []
        self._lingers = False
        # What else uvicorn asks of it. A `__getattr__` would make every attribute slower.
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send `data` before the loop waits for anything."""
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def write_whole(self, data: bytes) -> None:
        """Send `data`, to which nothing is added for now, and before it what was written."""
        if self._written:
            self._written.append(data)
        elif not self.is_closing():
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Tell whether nothing more can be sent."""
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        """Send what was written, then close.

        To close on somebody who is sending is to reset the connection, and what was written is lost with it. So the
        first call only ends what is sent from here, while there is something `unread`; the second one closes.
        """
        self._send()
        if self._lingers or self._transport.is_closing() or not self._unread() or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER, self._transport.close)

    def _send(self) -> None:
        if self._written and not self.is_closing():
            self._transport.write(b"".join(self._written))
        self._written.clear()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which waits for ever for a request's head and takes any amount of it."""

    head_timeout: float = 10.0
    patience: float | None = None
    """Seconds that a connection which asks nothing is still kept, once the server stops."""
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes: int = 0
    _in_body: bool = False
    _leaving: bool = False
    _idle_since: float | None = None
    """When the last answer ended, on the loop's clock; `None` while something is asked."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        gathering = GatheringTransport(transport, self.loop, lambda: self._in_body and self._answered())
        super().connection_made(cast("asyncio.Transport", gathering))
        self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)
        if self.patience is not None:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._stop_timer()
        super()._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, of a head only so many."""
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes and not self._in_body:
            if self._head_bytes > HEAD_BYTES:
                self._refuse(
                    b"431 Request Header Fields Too Large", "The request's headers are too large.", "BAD_REQUEST"
                )
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self.head_timeout, self._head_is_late)
        elif self._idle_since is None and self._answered() and not self.transport.is_closing():
            self._begin_idling()  # it was the rest of a body that was answered already

    def on_headers_complete(self) -> None:
        """Expect a body."""
        self._in_body = True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_body = False
        self._head_bytes = 0
        cast("dict[str, object]", self.scope)[WHOLE] = WholeRequest(self.cycle)
        super().on_message_complete()
        if self.transport.is_closing() and self._answered():
            self.transport.close()

    def shutdown(self) -> None:
        """End the connection with the next answer, or when nothing is asked for as long as `patience`.

        The answers to come are expected to say that they are the last. One that has begun cannot say it any more: after
        it, another request may be on its way, and is answered too.
        """
        if self._leaving:
            return
        self._leaving = True
        self.timeout_keep_alive = self.patience or 0.0  # type: ignore[assignment]  # the loop takes any number
        self._unset_keepalive_if_required()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = cycle.keep_alive and cycle.response_started
        elif not self._head_bytes:
            self._begin_idling()

    # A timer for each pause between two requests costs as much as decoding one: there is one timer, which is late.

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._begin_idling()

    def _begin_idling(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_later(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """Note that something is asked; the timer finds out. One that is patient for a moment only is stopped."""
        self._idle_since = None
        if self._leaving:
            super()._unset_keepalive_if_required()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for so long, and the next request is not here and only was not read."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_later(left)
        elif _has_arrived(self.transport):
            self._look_later(SOON)
        else:
            super().timeout_keep_alive_handler()

    def _look_later(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(b"400 Bad Request", msg, "BAD_REQUEST")

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            message = f"The request's headers did not arrive within {self.head_timeout:g} seconds."
            self._refuse(b"408 Request Timeout", message, "TIMEOUT")
        else:
            self.transport.close()

    def _refuse(self, status: bytes, message: str, code: str) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        body = msgspec.json.encode({"message": message, "code": code})
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(body))
        if self._awaits_word():
            self.transport.write(head + b"access-control-allow-origin: *\r\nconnection: close\r\n\r\n" + body)
        self.transport.close()

    def _awaits_word(self) -> bool:
        """Tell whether an answer sent now is taken for that to what was just read, and to nothing before it."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            return True
        return self._in_body and not self.pipeline and not cycle.response_started

    def _answered(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and cycle.response_complete

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _has_arrived(transport: asyncio.Transport) -> bool:
    """Tell whether the system holds bytes of the other side's, or its end, that were not read."""
    connection = transport.get_extra_info("socket")
    if sys.platform == "win32" or connection is None or transport.is_closing():
        return False
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def bounded_protocol(head_timeout: float) -> type[BoundedProtocol]:
    """Return a protocol class with this bound, in seconds, for one server."""
    return type("BoundedProtocol", (BoundedProtocol,), {"head_timeout": head_timeout})
