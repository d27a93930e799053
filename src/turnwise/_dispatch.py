"""Calls that need more than one exchange: work in the background that is followed, and tools that are called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from msgspec.structs import asdict, replace

from turnwise._call import Call, StreamableCall, StreamCall
from turnwise.types._base import OMIT, Omit
from turnwise.types.conversation import (
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationDispatchRequest,
    ConversationDispatchStatelessRequest,
    DispatchResult,
)

if TYPE_CHECKING:
    from turnwise.tools import Toolbox, ToolCallEvent

__all__ = [
    "DispatchCall",
    "DispatchStreamCall",
    "ResumableCall",
    "ResumableToolCall",
    "ResumableToolStreamCall",
    "ToolCall",
    "ToolStreamCall",
    "dispatched",
    "resumable_form",
    "with_tools",
]

T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E")

DispatchRequest = ConversationDispatchRequest | ConversationDispatchStatelessRequest


class DispatchStreamCall(StreamCall[T, R], Generic[T, R], frozen=True, kw_only=True):
    """A completion that is dispatched on a channel it names, and followed there."""


class DispatchCall(Call[DispatchResult], Generic[R, E], frozen=True, kw_only=True):
    """A completion that is dispatched; `events` and `answer` are what it publishes, and ends in."""

    answer: type[R]
    events: object

    def stream(self) -> DispatchStreamCall[E, R]:
        """Return the same work, followed: on a channel of its own, unless one is named."""
        body = cast("DispatchRequest", self.body)
        channel = self._new_channel() if body.channel_id is OMIT or body.channel_id is None else body.channel_id
        return DispatchStreamCall(
            method=self.method,
            path=self.path,
            ids=self.ids,
            body=replace(body, channel_id=channel),
            options=self.options,
            events=self.events,
            result=self.answer,
        )

    def _new_channel(self) -> str:
        """Return a random channel; under a key of the caller's the same one each time, for the same request."""
        headers = self.options.get("extra_headers", {})
        key = next((value for name, value in headers.items() if name.lower() == "idempotency-key"), None)
        if key is None:
            return os.urandom(16).hex()
        import hashlib

        return hashlib.sha256("\n".join((self.path, *self.ids, key)).encode()).hexdigest()[:32]


class ResumableCall(StreamableCall[T, E], Generic[T, E], frozen=True, kw_only=True):
    """A completion that is had by dispatching and following it, so that it survives what cuts connections."""

    def stream(self) -> DispatchStreamCall[E, T]:
        """Return the same completion, followed."""
        return dispatched(self).stream()


class ToolStreamCall(StreamCall[T, R], Generic[T, R], frozen=True, kw_only=True):
    """A streamed completion whose calls of tools are answered here."""

    box: Toolbox
    tool_timeout: float | None


class ToolCall(StreamableCall[T, E], Generic[T, E], frozen=True, kw_only=True):
    """A completion whose calls of tools are answered here."""

    box: Toolbox
    tool_timeout: float | None

    def stream(self) -> ToolStreamCall[E, T]:
        """Return the same completion, streamed."""
        return ToolStreamCall(
            method=self.method,
            path=self.path,
            ids=self.ids,
            body=self.body,
            options=self.options,
            events=self.events,
            result=self.result,
            box=self.box,
            tool_timeout=self.tool_timeout,
        )


class ResumableToolStreamCall(ToolStreamCall[T, R], DispatchStreamCall[T, R], Generic[T, R], frozen=True, kw_only=True):
    """A completion that is dispatched and followed, and whose calls of tools are answered here."""


class ResumableToolCall(ToolCall[T, E], Generic[T, E], frozen=True, kw_only=True):
    """A completion whose calls of tools are answered here, and that survives what cuts connections."""

    def stream(self) -> ResumableToolStreamCall[E, T]:
        """Return the same completion, followed."""
        followed = asdict(dispatched(self).stream())
        return ResumableToolStreamCall(**followed, box=self.box, tool_timeout=self.tool_timeout)


def dispatched(call: StreamableCall[T, E], channel_id: str | None | Omit = OMIT) -> DispatchCall[T, E]:
    """Return a completion as work in the background."""
    asked = cast("ConversationCompleteRequest | ConversationCompleteStatelessRequest", call.body)
    fields = {name: cast("object", getattr(asked, name)) for name in asked.__struct_fields__}
    kind = ConversationDispatchRequest if call.ids else ConversationDispatchStatelessRequest
    return DispatchCall(
        method=call.method,
        path=call.path.removesuffix("/complete") + "/dispatch",
        ids=call.ids,
        body=kind(**fields, channel_id=channel_id),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        options=call.options,
        result=DispatchResult,
        answer=call.result,
        events=call.events,
    )


def resumable_form(call: StreamableCall[T, E]) -> ResumableCall[T, E]:
    """Return a completion that survives what cuts connections."""
    return ResumableCall(
        method=call.method,
        path=call.path,
        ids=call.ids,
        body=call.body,
        options=call.options,
        patient=call.patient,
        result=call.result,
        events=call.events,
    )


def with_tools(call: StreamableCall[T, E], box: Toolbox, tool_timeout: float | None) -> ToolCall[T, E | ToolCallEvent]:
    """Return a completion whose calls of tools are answered here; events of their own come among the server's."""
    fields = asdict(call)
    if isinstance(call, ResumableCall):
        return ResumableToolCall(**fields, box=box, tool_timeout=tool_timeout)
    return ToolCall(**fields, box=box, tool_timeout=tool_timeout)
