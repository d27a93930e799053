"""The port to language models.

A model is asked with a `Prompt` and answers with batches of deltas, the last of which is a `Finish`. Batches, because
a model server sends many tokens in one packet and everything behind this port is paid for by the batch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import msgspec

from turnwise.types.message import MessageType

__all__ = [
    "Delta",
    "Finish",
    "FinishReason",
    "FunctionAnswer",
    "FunctionCall",
    "FunctionSpec",
    "Model",
    "ModelConfig",
    "ModelError",
    "Models",
    "Prompt",
    "PromptMessage",
    "ReasoningDelta",
    "ResolvedModel",
    "TextDelta",
    "call_id",
]

FinishReason = Literal["stop", "length", "calls"]
"""`calls`: the model wants functions called, and goes on when it has their results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """A function as a model is to know it."""

    name: str
    description: str
    parameters: Mapping[str, object]
    """JSON Schema of the arguments, of type object."""


class FunctionCall(msgspec.Struct, frozen=True, gc=False):
    """A function that the model calls, whole: an adapter puts the pieces of a stream together."""

    id: str
    """Pairs the call with its answer; unique among the calls of one reply, not beyond it."""
    name: str
    arguments: str
    """As the model wrote them: JSON of an object if the model did as it was told."""


def call_id(number: int) -> str:
    """Return an id for a call that has none: nine letters and digits, as the strictest servers want them."""
    return f"call{number:05d}"


class FunctionAnswer(msgspec.Struct, frozen=True, gc=False):
    """What a called function gave."""

    id: str
    """The call's."""
    name: str
    result: str
    """JSON."""


class PromptMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as a model is to see it; `type` maps to a role in the adapter.

    One with an `activity` has no text. Calls that follow each other, and the `bot` message before them, are one reply
    of the model's; their answers come right after them, in the calls' order.
    """

    type: MessageType
    text: str
    activity: FunctionCall | FunctionAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sampling settings, as they travel in a model string (`name/temperature=0`)."""

    max_tokens: int | None = None
    temperature: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    interaction_max_messages: int | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked: system text, then messages, oldest first."""

    system: str
    messages: Sequence[PromptMessage]
    config: ModelConfig = field(default_factory=ModelConfig)
    functions: Sequence[FunctionSpec] = ()
    """What the model may call."""
    force: str | None = None
    """The name of the function that the model must call now."""


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the reply."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The model ended by itself. Token counts are the upstream's own, or an estimate where it gives none."""

    reason: FinishReason
    input_tokens: int
    output_tokens: int

    def after(self, first: Finish | None) -> Finish:
        """Return how a reply ended that went on after `first`: for this reason, with the tokens of both."""
        if first is None:
            return self
        return Finish(
            reason=self.reason,
            input_tokens=first.input_tokens + self.input_tokens,
            output_tokens=first.output_tokens + self.output_tokens,
        )


Delta = TextDelta | ReasoningDelta | FunctionCall | Finish
"""Calls come in the model's order, right before a `Finish` with the reason `calls`."""


class ModelError(Exception):
    """The model did not answer, or broke off. Carries the status and code a client is to see; never a key."""

    def __init__(self, message: str, *, status: int, code: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Model(Protocol):
    """One named model."""

    @property
    def name(self) -> str:
        """The name conversations use."""
        ...

    @property
    def context_window(self) -> int:
        """How many tokens prompt and reply may have together."""
        ...

    def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        """Ask the model. The last delta is a `Finish`; every failure is a `ModelError`.

        Closing the iterator, or cancelling the task that reads it, ends the upstream request at once.
        """
        ...


class ResolvedModel(NamedTuple):
    """A model, and the configuration its string brought."""

    model: Model
    config: ModelConfig


class Models(Protocol):
    """All models there are."""

    async def resolve(self, model: str | None, /) -> ResolvedModel:
        """Return the model that a conversation's `model` means; the default for `None` or nothing.

        Raises:
            BadRequest: there is no such model, or its configuration cannot be read; the message says which there are.
            Unavailable: the default model needs a model server, and none is configured.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections to model servers."""
        ...
