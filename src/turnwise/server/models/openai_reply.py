"""An OpenAI-compatible server's answer -> deltas, whole packets at a time. No I/O.

`ReplyReader` also says at the end whether the reply is complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from turnwise.server.models.base import Delta, Finish, FinishReason, FunctionCall, Prompt, ReasoningDelta, TextDelta
from turnwise.server.models.openai_calls import CallPiece, CallReader, wire_names
from turnwise.server.models.openai_errors import UNREADABLE, Endpoint, UpstreamError, error_detail, status_error
from turnwise.server.models.openai_request import estimate_prompt
from turnwise.server.models.sse import MAX_EVENT_BYTES, EventBuffer, EventTooLong
from turnwise.server.models.tokens import estimate_tokens

__all__ = ["ReplyReader"]

FINISH_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
}


class ChunkDelta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None


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


CHUNKS: Final = msgspec.json.Decoder(Chunk)
DONE: Final = b"[DONE]"


class ReplyReader:
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
        self._calls = CallReader()
        self.done = False
        """Whether the server said that nothing follows."""
        self._failure: UpstreamError | None = None
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
            if len(self._document) > MAX_EVENT_BYTES:
                raise self._endpoint.malformed(f"a document of more than {MAX_EVENT_BYTES} bytes")
            return ()
        try:
            return self._read(self._events.feed(packet))
        except EventTooLong:
            raise self._endpoint.malformed(f"an event of more than {MAX_EVENT_BYTES} bytes") from None

    def close(self) -> Sequence[Delta]:
        """Return the last deltas, the last of them a `Finish` unless `check` then raises.

        Raises:
            UpstreamError: the reply is not complete.
        """
        deltas: list[Delta] = []
        if not self.done:
            lines = [bytes(self._document)] if self._document is not None else self._events.close()
            deltas = self._read(lines)
        if self._failure is None:
            try:
                deltas += self._end()
            except UpstreamError as failure:
                if not deltas:
                    raise
                self._failure = failure
        return deltas

    def check(self) -> None:
        """Raise the failure that the last packet told beside the deltas it brought: ask once those are taken."""
        if self._failure is not None:
            raise self._failure

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
        deltas: list[Delta] = []
        try:
            self._take_all(lines, deltas)
        except UpstreamError as failure:
            if not deltas:
                raise
            self._failure = failure
        return deltas

    def _take_all(self, lines: list[bytes], deltas: list[Delta]) -> None:
        chunks: Iterable[Chunk]
        try:
            chunks = CHUNKS.decode_lines(b"\n".join(lines))
        except UNREADABLE:
            chunks = map(self._decode, lines)
        for chunk in chunks:
            if chunk.choices:
                self._take(chunk.choices[0], deltas)
            elif chunk.usage is None:
                self._raise_error(chunk)
            if chunk.usage is not None:
                self._usage = chunk.usage
            if chunk.error is not None:
                self._raise_error(chunk)

    def _take(self, choice: Choice, deltas: list[Delta]) -> None:
        piece = choice.delta or choice.message
        if piece is not None:
            if reasoning := piece.reasoning_content or piece.reasoning:
                self._output.append(reasoning)
                deltas.append(ReasoningDelta(reasoning))
            if text := piece.content:
                self._output.append(text)
                deltas.append(TextDelta(text))
            if piece.tool_calls:
                self._calls.take(piece.tool_calls)
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

    def _decode(self, line: bytes) -> Chunk:
        try:
            return CHUNKS.decode(line)
        except UNREADABLE as error:
            raise self._endpoint.malformed(str(error), excerpt=line[:200].decode(errors="replace")) from None

    def _end(self) -> list[Delta]:
        """Return the calls and the finish. A reply that its length cut makes no calls: the last one is cut too."""
        reason = FINISH_REASONS.get(self._reason or "")
        calls: list[FunctionCall] = []
        if self._calls and self._reason is not None and reason != "length" and self._reason != "content_filter":
            calls = self._calls.calls({wire: name for name, wire in _names(self._prompt).items()})
            reason = "calls"
        if reason is None:
            raise self._incomplete()
        if any(not call.name for call in calls):
            raise self._endpoint.malformed("a tool call without a name")
        return [*calls, self._finish(reason, calls)]

    def _finish(self, reason: FinishReason, calls: Sequence[FunctionCall]) -> Finish:
        usage = self._usage or TokenUsage()
        known_input, known_output = usage.prompt_tokens, usage.completion_tokens
        output = "".join([*self._output, *(f"{call.name}{call.arguments}" for call in calls)])
        return Finish(
            reason=reason,
            input_tokens=estimate_prompt(self._prompt) if known_input is None else known_input,
            output_tokens=estimate_tokens(output) if known_output is None else known_output,
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


def _names(prompt: Prompt) -> Mapping[str, str]:
    return wire_names(function.name for function in prompt.functions)
