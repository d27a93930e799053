"""The chat completions of OpenAI's wire, as bytes: what to ask, and how to read what comes. No I/O.

`Reply` turns received bytes into deltas, whole packets at a time, and says at the end whether the reply is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Literal

import msgspec

from turnwise.server.models.base import Delta, Finish, FinishReason, Prompt, PromptMessage, ReasoningDelta, TextDelta
from turnwise.server.models.openai_errors import Endpoint, ErrorDetail, error_detail, status_error
from turnwise.server.models.sse import MAX_EVENT_BYTES, EventBuffer, EventTooLong
from turnwise.server.models.tokens import MESSAGE_TOKENS, estimate_tokens
from turnwise.types.message import MessageType

__all__ = ["Adaptation", "Reply", "Role", "adaptation_for", "estimate_prompt", "request_body", "role_of"]

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
FINISH_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
}


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
    messages.extend(map(_request_message, (message for message in prompt.messages if ROLES[message.type])))
    return messages


def _request_message(message: PromptMessage) -> RequestMessage:
    role = ROLES[message.type]
    assert role is not None  # noqa: S101 - the caller left out what has none
    return RequestMessage(role, message.text)


class ChunkDelta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct):
    delta: ChunkDelta | None = None
    message: ChunkDelta | None = None
    """In place of `delta`, where the server does not stream."""
    finish_reason: str | None = None
    index: int = 0


class TokenUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: TokenUsage | None = None
    error: object = None
    kind: str | None = msgspec.field(name="object", default=None)
    message: str | None = None


ENCODER: Final = msgspec.json.Encoder()
CHUNKS: Final = msgspec.json.Decoder(Chunk)
DONE: Final = b"[DONE]"


class Reply:
    """One reply as it is received: feed it packets, then `close` it.

    A stream of events is expected; a server that answers one JSON document instead is read too. Usage that the
    server does not tell is estimated from the characters (`estimate_tokens`).
    """

    def __init__(self, endpoint: Endpoint, model: str, prompt: Prompt) -> None:
        self._endpoint = endpoint
        self._model = model
        self._prompt = prompt
        self._events = EventBuffer()
        self._document: bytearray | None = None
        self._first = b""
        self._reason: str | None = None
        self._usage: TokenUsage | None = None
        self._output: list[str] = []
        self.done = False
        """Whether the server said that nothing follows."""
        self._sniffed = False

    @property
    def begun(self) -> bool:
        """Whether any of the reply was received."""
        return bool(self._output)

    @property
    def finished(self) -> bool:
        """Whether the server said how the reply ended; usage may follow."""
        return self._reason is not None

    def feed(self, packet: bytes) -> Sequence[Delta]:
        """Return the deltas that `packet` completes.

        Raises:
            UpstreamError: it cannot be read, or says that the model failed.
        """
        if not self._sniffed:
            self._sniff(packet)
        if self._document is not None:
            self._document += packet
            return ()
        try:
            return self._read(self._events.feed(packet))
        except EventTooLong:
            raise self._endpoint.malformed(f"an event of more than {MAX_EVENT_BYTES} bytes") from None

    def close(self) -> Sequence[Delta]:
        """Return the last deltas, the last of them a `Finish`.

        Raises:
            UpstreamError: the reply is not complete.
        """
        deltas: list[Delta] = []
        if not self.done:
            lines = [bytes(self._document)] if self._document is not None else self._events.close()
            deltas += self._read(lines)
        deltas.append(self._finish())
        return deltas

    def _sniff(self, packet: bytes) -> None:
        start = packet.lstrip()
        if start:
            self._sniffed = True
            self._first = start[:200]
            self._document = bytearray() if start[:1] in b"{[" else None

    def _read(self, lines: list[bytes]) -> list[Delta]:
        if DONE in lines:
            self.done = True
            lines = lines[: lines.index(DONE)]
        if not lines:
            return []
        data = b"\n".join(lines)
        try:
            chunks = CHUNKS.decode_lines(data)
        except msgspec.DecodeError as error:
            raise self._unreadable(lines, error) from None
        deltas: list[Delta] = []
        for chunk in chunks:
            if chunk.choices:
                self._take(chunk.choices[0], deltas)
            elif chunk.usage is None:
                self._raise_error(chunk)
            if chunk.usage is not None:
                self._usage = chunk.usage
            if chunk.error is not None:
                self._raise_error(chunk)
        return deltas

    def _take(self, choice: Choice, deltas: list[Delta]) -> None:
        piece = choice.delta or choice.message
        if piece is not None:
            if reasoning := piece.reasoning_content or piece.reasoning:
                self._output.append(reasoning)
                deltas.append(ReasoningDelta(reasoning))
            if text := piece.content:
                self._output.append(text)
                deltas.append(TextDelta(text))
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason

    def _raise_error(self, chunk: Chunk) -> None:
        """Raise what a chunk without choices reports; usage, and nothing at all, are no error."""
        if chunk.error is not None:
            body = msgspec.json.encode({"error": chunk.error})
        elif chunk.kind == "error" or chunk.message is not None:
            body = msgspec.json.encode({"message": chunk.message or ""})
        else:
            return
        detail = error_detail(body)
        raise status_error(self._endpoint, self._model, detail.status, detail)

    def _unreadable(self, lines: list[bytes], error: msgspec.DecodeError) -> Exception:
        """Name the line that cannot be read; an error that servers send as a stream's data is not JSON at times."""
        for line in lines:
            try:
                CHUNKS.decode(line)
            except msgspec.DecodeError as reason:
                return self._endpoint.malformed(str(reason), excerpt=line[:200].decode(errors="replace"))
        return self._endpoint.malformed(str(error))

    def _finish(self) -> Finish:
        reason = FINISH_REASONS.get(self._reason or "")
        if reason is None:
            raise self._incomplete()
        usage = self._usage or TokenUsage()
        known_input, known_output = usage.prompt_tokens, usage.completion_tokens
        return Finish(
            reason=reason,
            input_tokens=estimate_prompt(self._prompt) if known_input is None else known_input,
            output_tokens=estimate_tokens("".join(self._output)) if known_output is None else known_output,
        )

    def _incomplete(self) -> Exception:
        match self._reason:
            case "content_filter":
                return self._endpoint.filtered()
            case str(reason):
                return self._endpoint.odd_finish(reason)
            case None if not self.begun and not self.done and not self._first.startswith((b"data:", b":", b"event:")):
                excerpt = "" if self._first.startswith(b"<") else self._first.decode(errors="replace")
                return self._endpoint.malformed("no completion in it", excerpt=excerpt)
            case None:
                return self._endpoint.unfinished()
