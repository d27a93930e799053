"""One chat: the conversation it is in, and how a message is put into it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from turnwise.cli.chat.state import LastConversations
from turnwise.cli.output import shortened
from turnwise.types._base import OMIT
from turnwise.types.conversation import CompleteResult

if TYPE_CHECKING:
    from turnwise import AsyncStream
    from turnwise.resources.conversation import AsyncConversationClient
    from turnwise.types.conversation import Conversation
    from turnwise.types.event import CompleteEvent

__all__ = ["ChatSession"]

_NAME_LENGTH = 60


@dataclass(slots=True)
class ChatSession:
    """A conversation is made when the first message is sent, so that looking around leaves nothing behind."""

    conversations: AsyncConversationClient
    place: str
    """What identifies the server from one start to the next."""
    last: LastConversations
    backstory: str | None = None
    model: str | None = None
    preferred_model: str | None = None
    """Who answers where no model was chosen, if the server is our own."""
    conversation_id: str | None = None
    answer: str = ""
    """The last answer, as far as it came."""
    listed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Ids and names in the order in which they were last shown: people open by number."""

    async def open(self, conversation_id: str) -> Conversation:
        """Go on with a stored conversation."""
        conversation = await self.conversations.fetch(conversation_id)
        self._enter(conversation.id)
        self.model = conversation.model
        self.backstory = conversation.backstory
        self.answer = ""
        return conversation

    async def open_last(self) -> str | None:
        """Go on with the conversation that was last talked to here; `None` if it is not there any more."""
        from turnwise import NotFoundError

        last = self.last.get(self.place)
        try:
            return None if last is None else (await self.open(last)).id
        except NotFoundError:
            return None

    def leave(self) -> None:
        """Begin anew with the next message; model and backstory stay."""
        self.conversation_id = None
        self.answer = ""

    async def use_model(self, model: str) -> None:
        """Answer with this model from now on. The server refuses one that it does not know."""
        if self.conversation_id is not None:
            await self.conversations.update(self.conversation_id, model=model)
        self.model = model

    async def use_backstory(self, backstory: str) -> None:
        """Be this bot from now on."""
        if self.conversation_id is not None:
            await self.conversations.update(self.conversation_id, backstory=backstory)
        self.backstory = backstory

    @asynccontextmanager
    async def streamed(self, text: str) -> AsyncGenerator[AsyncStream[CompleteEvent, CompleteResult]]:
        """Send a message and open the stream of its answer."""
        conversation_id = await self._ensure(text)
        self.answer = ""
        async with self.conversations.complete_stream(conversation_id, text=text) as stream:
            try:
                yield stream
            finally:
                self.answer = stream.text

    async def whole(self, text: str) -> CompleteResult:
        """Send a message and wait for its answer."""
        result = await self.conversations.complete(await self._ensure(text), text=text)
        self.answer = result.text
        return result

    async def _ensure(self, text: str) -> str:
        if self.conversation_id is None:
            made = await self.conversations.create(
                name=shortened(" ".join(text.split()), _NAME_LENGTH),
                model=OMIT if self.model is None else self.model,
                backstory=OMIT if self.backstory is None else self.backstory,
            )
            self._enter(made.id)
            return made.id
        return self.conversation_id

    def _enter(self, conversation_id: str) -> None:
        self.conversation_id = conversation_id
        self.last.set(self.place, conversation_id)
