"""The rules of the domain, without HTTP or SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnwise.server.services.channel import ChannelService
    from turnwise.server.services.conversation import ConversationService
    from turnwise.server.services.message import MessageService
    from turnwise.server.services.session import SessionService
    from turnwise.server.services.turns import TurnService

__all__ = ["Services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What operations call."""

    conversations: ConversationService
    messages: MessageService
    sessions: SessionService
    turns: TurnService
    channels: ChannelService
