"""A conversation's history -> what a model is asked: as much of the newest as fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, cast, get_args

from turnwise.server.models.base import FunctionSpec, ModelConfig, Prompt, PromptMessage
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_tokens
from turnwise.types.message import Message, MessageInput, MessageType

__all__ = ["build_prompt"]

SENT: Final = frozenset(get_args(MessageType)) - {"reasoning", "activity"}
"""What a model is shown. Reasoning is the model's own scratch paper, and activities have no text for it."""
REPLY_SHARE: Final = 4
"""Without `max_tokens`, one in this many tokens of the context window is left to the reply."""


def build_prompt(
    backstory: str | None,
    extension_backstory: str | None,
    history: Sequence[Message | MessageInput],
    *,
    config: ModelConfig,
    context_window: int,
    functions: Sequence[FunctionSpec] = (),
    force: str | None = None,
) -> Prompt:
    """Return what a model with `context_window` tokens is asked; `history` is oldest first.

    The backstory, then the request's own, are system text and always sent; messages of type `backstory` stay in
    their place. Of the messages the newest are sent: at most `config.interaction_max_messages` of them, and as many
    as fit beside the system text when room is left for the reply. No message is left out between two that are sent,
    but for the user's last message, which is sent in any case. No text is altered or cut.
    """
    system = "\n\n".join(text for text in (backstory, extension_backstory) if text)
    messages = [
        PromptMessage(cast("MessageType", message.type), message.text) for message in history if message.type in SENT
    ]
    room = context_window - _reply_room(config, context_window) - (estimate_tokens(system) + MESSAGE_TOKENS)
    most = len(messages) if config.interaction_max_messages is None else config.interaction_max_messages
    first = len(messages) - min(_newest_that_fit(messages, room), most)
    asked = next((index for index in reversed(range(len(messages))) if messages[index].type == "user"), first)
    kept = [messages[asked], *messages[first:]] if asked < first else messages[first:]
    return Prompt(system=system, messages=kept, config=config, functions=functions, force=force)


def _reply_room(config: ModelConfig, context_window: int) -> int:
    """Return the tokens to leave for the reply: never more than half of the window."""
    wanted = context_window // REPLY_SHARE if config.max_tokens is None else config.max_tokens
    return min(wanted, context_window // 2)


def _newest_that_fit(messages: Sequence[PromptMessage], room: int) -> int:
    """Return how many of the newest messages have at most `room` tokens together."""
    count = 0
    for cost in _costs(reversed(messages)):
        room -= cost
        if room < 0:
            break
        count += 1
    return count


def _costs(messages: Iterable[PromptMessage]) -> Iterable[int]:
    return (estimate_tokens(message.text) + MESSAGE_TOKENS for message in messages)
