"""What a notice tells of a publication on a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from turnwise.server.channels.base import ChannelMessage

__all__ = ["Told"]


class Body(msgspec.Struct, array_like=True):
    """As `storage/jobs/channels.py` writes it."""

    account_id: str
    channel_id: str
    seq: int
    at: int
    messages: list[msgspec.Raw] | None


DECODER: Final = msgspec.json.Decoder(Body)


@dataclass(frozen=True, slots=True)
class Told:
    """That something was stored up to the number `seq`."""

    account_id: str
    channel_id: str
    seq: int
    messages: Sequence[ChannelMessage] | None
    """All of it; None where it is too large for a notice."""

    @classmethod
    def of(cls, body: bytes) -> Told:
        """Read a notice's body."""
        told = DECODER.decode(body)
        if not told.messages:
            return cls(told.account_id, told.channel_id, told.seq, None)
        first = told.seq - len(told.messages) + 1
        messages = [ChannelMessage(seq, told.at, bytes(data)) for seq, data in enumerate(told.messages, first)]
        return cls(told.account_id, told.channel_id, told.seq, messages)
