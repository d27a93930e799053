"""A piece of work for a bot, from the side of the client: asked for, listened to, its functions answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from tests.crash.worker import Pace, answer_of, preface_of

from turnwise import AsyncTurnwise, AttemptEvent, TokenEvent, TurnwiseError
from turnwise.types.event import (
    CompleteBeginEvent,
    CompleteEvent,
    MessageEvent,
    SendResultEvent,
    StatelessCompleteEvent,
    WaitForChannelMessageBeginEvent,
)
from turnwise.types.message import Message, TextMessage

Line = tuple[str, str]
"""A message: its type, and its text, or what an activity says."""

PARAMETERS: Mapping[str, object] = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
}
CALLED: tuple[Line, ...] = (
    ("activity", "request weigh"),
    ("activity", "request price"),
    ("activity", "response weigh"),
    ("activity", "response price"),
)


def line_of(message: Message | TextMessage) -> Line:
    """Return what a test wants to know of a message."""
    activity = cast("Mapping[str, object]", (message.meta or {}).get("activity") or {})
    if not activity:
        return message.type, message.text
    function = cast("Mapping[str, object]", activity["function"])
    return message.type, f"{activity['type']} {function['name']}"


@dataclass
class Task:
    """One turn: dispatched and followed, or completed."""

    number: int
    conversation_id: str
    """Empty where nothing is stored."""
    pace: Pace
    channel: str = field(default_factory=lambda: os.urandom(16).hex())
    told: list[Line] = field(default_factory=list[Line])
    """The finished messages that its stream told of."""
    calls: Counter[str] = field(default_factory=Counter[str])
    """How often each call was asked for, by its id."""
    began: Counter[str] = field(default_factory=Counter[str])
    """How often each of the events came that tell of the beginning."""
    attempts: list[int] = field(default_factory=list[int])
    acknowledged: bool = False
    tokens: int = 0
    text: str | None = None
    """What its stream ended with."""
    failure: TurnwiseError | None = None
    _answers: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    @property
    def said(self) -> str:
        """What the user says."""
        return f"work {self.number}"

    @property
    def answer(self) -> str:
        """What the bot is to say at last."""
        return answer_of(self.number, self.pace)

    @property
    def reply(self) -> list[Line]:
        """All that the bot is to say and do."""
        return [("bot", preface_of(self.number, self.pace)), *CALLED, ("bot", self.answer)]

    @property
    def functions(self) -> list[Mapping[str, object]]:
        """One is answered here, on a channel, the other one by the server."""
        parameters = PARAMETERS
        return [
            {
                "name": "weigh",
                "description": "Weigh it.",
                "parameters": parameters,
                "result": {"channel": self.channel},
            },
            {"name": "price", "description": "Price it.", "parameters": parameters, "result": {"data": {"euro": 5}}},
        ]

    async def dispatch(self, client: AsyncTurnwise, *, resumable: bool = False) -> None:
        """Have it done in the background and follow it to its end, whatever happens meanwhile."""
        if resumable:
            call = client.conversation.complete_stream(
                self.conversation_id, text=self.said, functions=self.functions, resumable=True
            )
        else:
            call = client.conversation.dispatch_stream(self.conversation_id, text=self.said, functions=self.functions)
        async with call as events:
            self.acknowledged = True
            await self._listen(client, events)
            self.text = events.text

    async def dispatch_stateless(self, client: AsyncTurnwise) -> None:
        """Have it done in the background, with nothing stored but how far it came."""
        messages = [{"type": "user", "text": self.said}]
        async with client.conversation.dispatch_stream(None, messages=messages, functions=self.functions) as events:
            await self._listen(client, events)
            self.text = events.text

    async def complete(self, client: AsyncTurnwise) -> None:
        """Have it done while somebody listens, in one try."""
        try:
            async with client.conversation.complete_stream(
                self.conversation_id,
                text=self.said,
                functions=self.functions,
                extra_headers={"idempotency-key": f"key-{self.number}"},
                retries=0,
            ) as events:
                await self._listen(client, events)
                self.text = events.text
        except TurnwiseError as error:
            self.failure = error

    async def _listen(
        self, client: AsyncTurnwise, events: AsyncIterator[CompleteEvent | StatelessCompleteEvent]
    ) -> None:
        try:
            async for event in events:
                match event:
                    case SendResultEvent() | CompleteBeginEvent():
                        self.acknowledged = True
                        self.began[event.type] += 1
                    case MessageEvent(data=message):
                        self.told.append(line_of(message))
                    case TokenEvent():
                        self.tokens += 1
                    case AttemptEvent(data=attempt):
                        self.attempts.append(attempt.attempt)
                    case WaitForChannelMessageBeginEvent(data=wait):
                        self.calls[wait.id or ""] += 1
                        answer = asyncio.create_task(self._publish(client, wait.channel, wait.id))
                        self._answers.add(answer)
                        answer.add_done_callback(self._answers.discard)
                    case _:
                        pass
        finally:
            if self._answers:
                await asyncio.wait(self._answers)

    async def _publish(self, client: AsyncTurnwise, channel: str, call_id: str | None) -> None:
        with contextlib.suppress(TurnwiseError):  # whoever goes on with the turn asks again
            await client.channel.publish(channel, message={"data": {"kilograms": self.number}, "id": call_id})
