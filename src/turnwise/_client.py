"""The whole API behind one object and one set of connections."""

from __future__ import annotations

from functools import cached_property

from turnwise._resource import AsyncResource, Resource, over
from turnwise.resources.channel import AsyncChannelClient, ChannelClient
from turnwise.resources.conversation import AsyncConversationClient, ConversationClient

__all__ = ["AsyncTurnwise", "Turnwise"]


class Turnwise(Resource):
    """The API: `Turnwise(secret=...).conversation.create(...)`."""

    @cached_property
    def conversation(self) -> ConversationClient:
        """Conversations, over the same connections."""
        return over(ConversationClient, self._runner)

    @cached_property
    def channel(self) -> ChannelClient:
        """Channels, over the same connections."""
        return over(ChannelClient, self._runner)


class AsyncTurnwise(AsyncResource):
    """The API, to be awaited: `await AsyncTurnwise(secret=...).conversation.create(...)`."""

    @cached_property
    def conversation(self) -> AsyncConversationClient:
        """Conversations, over the same connections."""
        return over(AsyncConversationClient, self._runner)

    @cached_property
    def channel(self) -> AsyncChannelClient:
        """Channels, over the same connections."""
        return over(AsyncChannelClient, self._runner)
