"""A prompt -> the body that asks a model of an OpenAI-compatible server. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal

import msgspec

from turnwise.server.models.base import FunctionAnswer, FunctionCall, Prompt
from turnwise.server.models.openai_calls import wire_name, wire_names
from turnwise.server.models.openai_errors import ErrorDetail
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_functions, estimate_tokens
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
    NO_TOOL_CHOICE = "tool_choice"
    """A function that must be called is then the only one that is offered."""


def role_of(type: MessageType, /) -> Role | None:
    """Return the role a message's text is sent in; `None` where it is not sent."""
    return ROLES[type]


class RequestMessage(msgspec.Struct, frozen=True):
    role: Role
    content: str


class NamedFunction(msgspec.Struct, frozen=True):
    name: str


class CalledFunction(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class CallingMessage(msgspec.Struct, frozen=True):
    """A reply of the model's that calls functions."""

    content: str | None
    tool_calls: list[ToolCall]
    role: Literal["assistant"] = "assistant"


class ResultMessage(msgspec.Struct, frozen=True):
    tool_call_id: str
    content: str
    role: Literal["tool"] = "tool"


WireMessage = RequestMessage | CallingMessage | ResultMessage


class DescribedFunction(msgspec.Struct, frozen=True):
    name: str
    description: str
    parameters: Mapping[str, object]


class Tool(msgspec.Struct, frozen=True):
    function: DescribedFunction
    type: Literal["function"] = "function"


class ToolChoice(msgspec.Struct, frozen=True):
    function: NamedFunction
    type: Literal["function"] = "function"


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = True


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    model: str
    messages: list[WireMessage]
    stream: Literal[True]
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None


def request_body(model: str, prompt: Prompt, adaptations: frozenset[Adaptation] = frozenset()) -> bytes:
    """Return the body that asks `model`. Sampling settings that are not set are not sent; zeros are."""
    config = prompt.config
    tools, choice = _offered(prompt, adaptations) if prompt.functions else (None, None)
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
            tools=tools,
            tool_choice=choice,
        )
    )


def adaptation_for(status: int, detail: ErrorDetail) -> Adaptation | None:
    """Return what to change where a refusal names a field that this server wants different."""
    if status not in {400, 422}:
        return None
    words = detail.words
    if "stream_options" in words or "include_usage" in words:
        return Adaptation.NO_STREAM_OPTIONS
    if "tool_choice" in words:
        return Adaptation.NO_TOOL_CHOICE
    return Adaptation.MAX_COMPLETION_TOKENS if "max_completion_tokens" in words else None


def estimate_prompt(prompt: Prompt) -> int:
    """Return about how many tokens of input `prompt` has."""
    return sum(map(_estimate, _messages(prompt))) + estimate_functions(prompt.functions)


def _estimate(message: WireMessage) -> int:
    match message:
        case CallingMessage(content, calls):
            tokens = sum(estimate_tokens(call.function.name + call.function.arguments) for call in calls)
            return tokens + estimate_tokens(content or "") + MESSAGE_TOKENS
        case RequestMessage() | ResultMessage():
            return estimate_tokens(message.content) + MESSAGE_TOKENS


def _offered(prompt: Prompt, adaptations: frozenset[Adaptation]) -> tuple[list[Tool], ToolChoice | None]:
    names = wire_names(function.name for function in prompt.functions)
    forced = names.get(prompt.force) if prompt.force is not None else None
    tools = [
        Tool(DescribedFunction(names[function.name], function.description, function.parameters))
        for function in prompt.functions
    ]
    if forced is None:
        return tools, None
    if Adaptation.NO_TOOL_CHOICE in adaptations:
        return [tool for tool in tools if tool.function.name == forced], None
    return tools, ToolChoice(NamedFunction(forced))


def _messages(prompt: Prompt) -> list[WireMessage]:
    messages: list[WireMessage] = [RequestMessage("system", prompt.system)] if prompt.system else []
    names: Mapping[str, str] | None = None
    for message in prompt.messages:
        if message.activity is not None:
            if names is None:
                names = wire_names(function.name for function in prompt.functions)
            _add_activity(messages, message.activity, names)
        elif role := ROLES[message.type]:
            messages.append(RequestMessage(role, message.text))
    return messages


def _add_activity(
    messages: list[WireMessage], activity: FunctionCall | FunctionAnswer, names: Mapping[str, str]
) -> None:
    """Add a call to the reply that makes it, or an answer."""
    match activity:
        case FunctionAnswer(id, _, result):
            messages.append(ResultMessage(id, _plain(result)))
        case FunctionCall(id, name, arguments):
            call = ToolCall(id, CalledFunction(names.get(name) or wire_name(name), arguments))
            match messages[-1] if messages else None:
                case CallingMessage() as reply:
                    reply.tool_calls.append(call)
                case RequestMessage("assistant", text):
                    messages[-1] = CallingMessage(text or None, [call])
                case _:
                    messages.append(CallingMessage(None, [call]))


def _plain(result: str) -> str:
    """Return a result as a model reads it best: a string without its quotes, anything else as JSON."""
    return msgspec.json.decode(result, type=str) if result.startswith('"') else result
