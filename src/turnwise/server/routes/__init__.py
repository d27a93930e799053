"""Parse, call one service, render. An operation's name, form and reach stand in one table."""

from __future__ import annotations

from typing import Final

from turnwise.server.operation import Operation
from turnwise.server.routes import attachment, channel, conversation, message, session, turn

__all__ = ["OPERATIONS"]

OPERATIONS: Final[tuple[Operation, ...]] = (
    conversation.SEND,
    *turn.OPERATIONS,
    *conversation.OPERATIONS,
    *message.OPERATIONS,
    *session.OPERATIONS,
    *attachment.OPERATIONS,
    *channel.OPERATIONS,
)
"""All operations; those that are asked for most come first, where routing finds them soonest."""
