"""How far a turn came: what its loop knows between two steps, stored with each of them."""

from __future__ import annotations

import msgspec

from turnwise.server.models.base import FunctionCall
from turnwise.types.message import TextMessage

__all__ = ["Progress"]


class Progress(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is needed to go on after the last stored step."""

    iterations: int = 0
    """How often the model was asked."""
    continuations: int = 0
    """How often it was asked to go on after it had run out of tokens."""
    calls: int = 0
    """How many functions were called."""
    tokens: int = 0
    """Input and output, summed over the model's turns."""
    started: int = 0
    """How many of the functions that are called first were asked for."""
    ended: int | None = None
    """Likewise of those that are called last; `None` until the model has ended by itself."""
    over: bool = False
    """Whether the model wanted more calls than are allowed."""
    unanswered: bool = False
    """Whether the caller of the API is to answer a call: then the turn ends."""
    pending: list[FunctionCall] = []
    """Calls that are recorded and not answered."""
    made: list[TextMessage] = []
    """The messages of this turn, where no conversation holds them."""
    text: str = ""
    """The text of the last bot message of this turn."""
    message_id: str | None = None
    """Its id, or the id of the last message that was stored while there is none."""
    spoke: bool = False
    """Whether `message_id` is a bot message's."""
