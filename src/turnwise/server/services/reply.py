"""A bot's reply while it grows: from a model's deltas to events and finished messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from turnwise.server.ids import Clock
from turnwise.server.models.base import Delta, Finish, FunctionCall, ReasoningDelta, TextDelta
from turnwise.types.event import Event, MessageEvent, ReasoningTokenEvent, Token, TokenEvent
from turnwise.types.message import TextMessage

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
        self._journaled = 0
        self.calls: list[FunctionCall] = []
        """The functions that the model wants called."""
        self.finish: Finish | None = None

    @property
    def text(self) -> str:
        """What was said so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """What was thought so far."""
        return "".join(self._reasoning)

    @property
    def tokens(self) -> int:
        """How many pieces came so far."""
        return len(self._text) + len(self._reasoning)

    def take(self, batch: Sequence[Delta]) -> list[Event]:
        """Add a batch of deltas; return the events that tell of them."""
        events: list[Event] = []
        moment = self._clock()
        for delta in batch:
            match delta:
                case TextDelta(text):
                    if self._reasoning and not self._reasoned:
                        self._reasoned = True
                        events.append(self._reasoning_event(moment))
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

    def unjournaled(self) -> str:
        """Return the text that came since this was asked last."""
        parts = self._text[self._journaled :]
        self._journaled += len(parts)
        return "".join(parts)

    def messages(self, interruption: Interruption | None = None) -> list[TextMessage]:
        """Return the finished messages. A reply without a word is one only where nothing else was said."""
        meta = _meta(interruption)
        messages: list[TextMessage] = []
        if self._reasoning:
            messages.append(TextMessage(type="reasoning", text=self.reasoning, meta=meta))
        if self._text or (interruption is None and not self.calls):
            messages.append(TextMessage(type="bot", text=self.text, meta=meta))
        return messages

    def untold(self, messages: Sequence[TextMessage]) -> list[Event]:
        """Return the events of finished messages, but for reasoning that was told already."""
        moment = self._clock()
        return [
            MessageEvent(data=message, created_at=moment)
            for message in messages
            if not (self._reasoned and message.type == "reasoning")
        ]

    def retold(self) -> list[Event]:
        """Return what was told while the reply grew once more, with all tokens of a kind in one."""
        moment = self._clock()
        events: list[Event] = []
        if self._reasoning:
            events.append(ReasoningTokenEvent(data=Token(token=self.reasoning), created_at=moment))
        if self._reasoned:
            events.append(self._reasoning_event(moment))
        if self._text:
            events.append(TokenEvent(data=Token(token=self.text), created_at=moment))
        return events

    def _reasoning_event(self, moment: int) -> MessageEvent:
        return MessageEvent(data=TextMessage(type="reasoning", text=self.reasoning), created_at=moment)


def _meta(interruption: Interruption | None) -> dict[str, object] | None:
    return {"interrupted": True, "reason": interruption} if interruption is not None else None
