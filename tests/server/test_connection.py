from __future__ import annotations

import asyncio
from typing import cast

from turnwise.server.connection import GatheringTransport


class Wire:
    """A transport that notes what is sent through it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.paused = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def gathering(wire: Wire) -> GatheringTransport:
    return GatheringTransport(cast("asyncio.Transport", wire), asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_of_the_loop_is_sent_as_one() -> None:
    wire = Wire()
    transport = gathering(wire)
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"head body"]
    transport.write(b"more")
    await asyncio.sleep(0)
    assert wire.sent == [b"head body", b"more"]


async def test_closing_sends_what_was_written_first() -> None:
    wire = Wire()
    transport = gathering(wire)
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"last words"]
    assert transport.is_closing()


async def test_nothing_is_sent_once_the_other_side_is_gone() -> None:
    wire = Wire()
    transport = gathering(wire)
    transport.write(b"too late")
    wire.close()
    await asyncio.sleep(0)
    assert wire.sent == []


async def test_everything_else_is_the_transports_own() -> None:
    wire = Wire()
    transport = gathering(wire)
    assert transport.get_extra_info("peername") == "the peername"
    transport.pause_reading()
    assert wire.paused
    transport.resume_reading()
    assert not wire.paused
