"""Channels: a message to everybody who listens."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from turnwise.types._base import OMIT, Omit, Request, Result

__all__ = ["ChannelPublishRequest", "ChannelPublishResult", "ChannelSubscribeRequest"]


class ChannelPublishRequest(Request, frozen=True, kw_only=True):
    """The body of `publish`."""

    message: dict[str, object]


class ChannelPublishResult(Result, frozen=True, kw_only=True):
    """The id of the channel."""

    id: str


class ChannelSubscribeRequest(Request, frozen=True, kw_only=True):
    """The body of `subscribe`."""

    history_length: Annotated[int, Meta(ge=0, le=10_000)] | None | Omit = OMIT
    after: Annotated[int, Meta(ge=0)] | None | Omit = OMIT
    """Go on after this sequence number; an extension of Turnwise's server."""
