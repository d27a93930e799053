"""A bot's reply while it grows: from a model's deltas to events and finished messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from turnwise.server.ids import Clock, NewId
from turnwise.server.models.base import Delta, Finish, FunctionCall, ReasoningDelta, TextDelta
from turnwise.types.event import Event, MessageEvent, ReasoningTokenEvent, Token, TokenEvent
from turnwise.types.message import Message, TextMessage

__all__ = ["Interruption", "Reply"]

Interruption = Literal["abort", "error"]
"""Why a reply ended before the model ended it."""


class Reply:
    """Collects what a model says, and tells it as events."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reasoned = False
        self.calls: list[FunctionCall] = []
        """The functions the model called, in its order."""
        self.finish: Finish | None = None

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """What was thought so far."""
        return "".join(self._reasoning)

    def take(self, batch: Sequence[Delta]) -> list[Event]:
        """Add a batch of deltas; return the events that tell of them."""
        events: list[Event] = []
        moment = self._clock()
        for delta in batch:
            match delta:
                case TextDelta(text):
                    if self._reasoning and not self._reasoned:
                        events.append(self._reasoning_message(moment))
                    self._text.append(text)
                    events.append(TokenEvent(data=Token(token=text), created_at=moment))
                case ReasoningDelta(text):
                    self._reasoning.append(text)
                    events.append(ReasoningTokenEvent(data=Token(token=text), created_at=moment))
                case FunctionCall():
                    self.calls.append(delta)
                case Finish():
                    self.finish = delta
        return events

    def last_events(self, interruption: Interruption | None = None) -> list[Event]:
        """Return the events of messages that are finished now that the model ended, or was ended."""
        moment = self._clock()
        events: list[Event] = []
        if self._reasoning and not self._reasoned:
            events.append(self._reasoning_message(moment))
        if self._text or interruption is None:
            message = TextMessage(type="bot", text=self.text, meta=_meta(interruption))
            events.append(MessageEvent(data=message, created_at=moment))
        return events

    def retold(self) -> list[Event]:
        """Return the reply's events once more, with all tokens of a kind in one."""
        moment = self._clock()
        events: list[Event] = []
        if self._reasoning:
            events.append(ReasoningTokenEvent(data=Token(token=self.reasoning), created_at=moment))
            events.append(self._reasoning_message(moment))
        if self._text:
            events.append(TokenEvent(data=Token(token=self.text), created_at=moment))
        return events

    def messages(self, new_id: NewId, interruption: Interruption | None = None) -> list[Message]:
        """Return what is to be stored. An interrupted reply without a word leaves no message."""
        moment = self._clock()
        meta = _meta(interruption)

        def message(kind: Literal["reasoning", "bot"], text: str) -> Message:
            return Message(id=new_id(), type=kind, text=text, meta=meta, created_at=moment, updated_at=moment)

        stored: list[Message] = []
        if self._reasoning:
            stored.append(message("reasoning", self.reasoning))
        if self._text or interruption is None:
            stored.append(message("bot", self.text))
        return stored

    def _reasoning_message(self, moment: int) -> MessageEvent:
        self._reasoned = True
        return MessageEvent(data=TextMessage(type="reasoning", text=self.reasoning), created_at=moment)


def _meta(interruption: Interruption | None) -> dict[str, object] | None:
    return {"interrupted": True, "reason": interruption} if interruption is not None else None
