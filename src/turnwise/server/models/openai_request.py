"""A prompt -> the body that asks a model of an OpenAI-compatible server. No I/O."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

import msgspec

from turnwise.server.models.base import Prompt
from turnwise.server.models.openai_errors import ErrorDetail
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_tokens
from turnwise.types.message import MessageType

__all__ = ["Adaptation", "Role", "adaptation_for", "estimate_prompt", "request_body", "role_of"]

Role = Literal["user", "assistant", "system"]

ROLES: Final[dict[MessageType, Role | None]] = {
    "user": "user",
    "bot": "assistant",
    "context": "system",
    "instruction": "system",
    "backstory": "system",
    "checkpoint": "system",
    "reasoning": None,
    "activity": None,
}
ENCODER: Final = msgspec.json.Encoder()


class Adaptation(Enum):
    """Something a server wants different from what OpenAI's description says; learnt from its refusal."""

    NO_STREAM_OPTIONS = "stream_options"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"


def role_of(type: MessageType, /) -> Role | None:
    """Return the role a message is sent in; `None` where it is not sent."""
    return ROLES[type]


class RequestMessage(msgspec.Struct, frozen=True):
    role: Role
    content: str


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = True


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    model: str
    messages: list[RequestMessage]
    stream: Literal[True]
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None


def request_body(model: str, prompt: Prompt, adaptations: frozenset[Adaptation] = frozenset()) -> bytes:
    """Return the body that asks `model`. Sampling settings that are not set are not sent; zeros are."""
    config = prompt.config
    renamed = Adaptation.MAX_COMPLETION_TOKENS in adaptations
    return ENCODER.encode(
        RequestBody(
            model=model,
            messages=_messages(prompt),
            stream=True,
            stream_options=None if Adaptation.NO_STREAM_OPTIONS in adaptations else StreamOptions(True),
            temperature=config.temperature,
            max_tokens=None if renamed else config.max_tokens,
            max_completion_tokens=config.max_tokens if renamed else None,
            frequency_penalty=config.frequency_penalty,
            presence_penalty=config.presence_penalty,
            seed=config.seed,
        )
    )


def adaptation_for(status: int, detail: ErrorDetail) -> Adaptation | None:
    """Return what to change where a refusal names a field that this server wants different."""
    if status not in {400, 422}:
        return None
    words = detail.words
    if "stream_options" in words or "include_usage" in words:
        return Adaptation.NO_STREAM_OPTIONS
    return Adaptation.MAX_COMPLETION_TOKENS if "max_completion_tokens" in words else None


def estimate_prompt(prompt: Prompt) -> int:
    """Return about how many tokens of input `prompt` has."""
    return sum(estimate_tokens(message.content) + MESSAGE_TOKENS for message in _messages(prompt))


def _messages(prompt: Prompt) -> list[RequestMessage]:
    messages = [RequestMessage("system", prompt.system)] if prompt.system else []
    messages += [RequestMessage(role, message.text) for message in prompt.messages if (role := ROLES[message.type])]
    return messages
