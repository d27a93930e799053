"""A conversation's history -> what a model is asked: as much of the newest as fits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

from turnwise.server.models.base import FunctionAnswer, FunctionCall, FunctionSpec, ModelConfig, Prompt, PromptMessage
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_functions, estimate_tokens
from turnwise.server.services.calls import Unit, units_of
from turnwise.types.message import Message, MessageInput, TextMessage

__all__ = ["build_prompt"]

REPLY_SHARE: Final = 4
"""Without `max_tokens`, one in this many tokens of the context window is left to the reply."""


def build_prompt(
    backstory: str | None,
    extension_backstory: str | None,
    history: Sequence[Message | MessageInput | TextMessage],
    *,
    config: ModelConfig,
    context_window: int,
    functions: Sequence[FunctionSpec] = (),
    force: str | None = None,
) -> Prompt:
    """Return what a model with `context_window` tokens is asked; `history` is oldest first.

    The backstory, then the request's own, are system text and always sent; messages of type `backstory` stay in
    their place. Of the messages the newest are sent: at most `config.interaction_max_messages` of them, and as many
    as fit beside the system text and the functions when room is left for the reply. No message is left out between two
    that are sent, but for the user's last message, which is sent in any case. No text is altered or cut.

    A reply that calls functions is sent with its answers or not at all (`services.calls` says how they are paired). It
    does not count as a message, and as the end of the history it is sent in any case, or the model would call again.
    """
    system = "\n\n".join(text for text in (backstory, extension_backstory) if text)
    units = units_of(history)
    room = context_window - _reply_room(config, context_window) - (estimate_tokens(system) + MESSAGE_TOKENS)
    asked = next((index for index in reversed(range(len(units))) if units[index][0].type == "user"), 0)
    most = len(units) if config.interaction_max_messages is None else config.interaction_max_messages
    first = _first_sent(units, asked, room - estimate_functions(functions), most)
    kept = units[first:]
    if asked < first and units[asked][0].type == "user":
        kept = [units[asked], *kept]
    messages = list(chain.from_iterable(kept))
    return Prompt(system=system, messages=messages, config=config, functions=functions, force=force)


def _reply_room(config: ModelConfig, context_window: int) -> int:
    """Return the tokens to leave for the reply: never more than half of the window."""
    wanted = context_window // REPLY_SHARE if config.max_tokens is None else config.max_tokens
    return min(wanted, context_window // 2)


def _first_sent(units: Sequence[Unit], asked: int, room: int, most: int) -> int:
    """Return the index of the first unit to send: `room` in tokens, `most` in messages."""
    first = len(units)
    for index in reversed(range(len(units))):
        unit = units[index]
        if len(unit) == 1:
            room -= estimate_tokens(unit[0].text) + MESSAGE_TOKENS
            if room < 0 or most == 0:
                break
            most -= 1
        else:
            room -= sum(map(_cost, unit))
            if (room < 0 and first < len(units)) or (most == 0 and index < asked):
                break
        first = index
    return first


def _cost(message: PromptMessage) -> int:
    match message.activity:
        case FunctionCall(_, name, arguments):
            text = name + arguments
        case FunctionAnswer(_, _, result):
            text = result
        case _:
            text = message.text
    return estimate_tokens(text) + MESSAGE_TOKENS
