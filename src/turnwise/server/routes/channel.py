from __future__ import annotations

from typing import Final

from turnwise.server.operation import Operation, unbuilt

__all__ = ["OPERATIONS"]

OPERATIONS: Final[tuple[Operation, ...]] = (
    unbuilt(
        "POST", "/channel/{channelId}/publish", "publishChannelMessage", "Send a message to everybody who listens."
    ),
    unbuilt("POST", "/channel/{channelId}/subscribe", "subscribeChannelMessages", "Listen to a channel."),
)
