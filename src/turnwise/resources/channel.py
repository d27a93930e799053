"""Channels: what is published on one reaches everybody who subscribes to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack, cast

from turnwise._bind import Json, async_, sync
from turnwise._call import Call, CallOptions, StreamCall
from turnwise._resource import AsyncResource, Resource
from turnwise.types._base import OMIT, Omit
from turnwise.types.channel import ChannelPublishRequest, ChannelPublishResult, ChannelSubscribeRequest
from turnwise.types.event import ChannelEvent

__all__ = ["AsyncChannelClient", "ChannelClient", "publish_message", "subscribe_channel"]

_ONE = "/api/v1/channel/{channelId}"


def publish_message(channel_id: str, /, *, message: Json, **options: Unpack[CallOptions]) -> Call[ChannelPublishResult]:
    """Publish a message, any JSON object, to all who are subscribed.

    A channel is made by using it: its id is any text of at least 16 characters, best a random one. It belongs to the
    account: another account's channel of the same id is another channel.

    Raises:
        TypeError: The message is no mapping.
    """
    given = cast("object", message)
    if not isinstance(given, Mapping):
        raise TypeError(f"publish() takes a mapping as message, not {type(given).__name__}: a JSON object is published")
    return Call(
        method="POST",
        path=f"{_ONE}/publish",
        ids=(channel_id,),
        body=ChannelPublishRequest(message=dict(message)),
        options=options,
        result=ChannelPublishResult,
    )


def subscribe_channel(
    channel_id: str,
    /,
    *,
    history_length: int | None | Omit = OMIT,
    after: int | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> StreamCall[ChannelEvent, None]:
    """Stream the messages of a channel: first up to `history_length` (0 to 10000) old ones, then what comes.

    The stream ends only when it is left, or when the server ends it. Each message has a number, its `seq`; `after` goes
    on with what came after that one, an extension of Turnwise's server. A channel keeps its messages for an hour, at
    most 10000.
    """
    return StreamCall(
        method="POST",
        path=f"{_ONE}/subscribe",
        ids=(channel_id,),
        body=ChannelSubscribeRequest(history_length=history_length, after=after),
        options=options,
        events=ChannelEvent,
        result=type(None),
    )


class ChannelClient(Resource):
    """Channels."""

    publish = sync(publish_message)
    subscribe = sync(subscribe_channel)


class AsyncChannelClient(AsyncResource):
    """Channels; `publish` is awaited, `subscribe` iterated over."""

    publish = async_(publish_message)
    subscribe = async_(subscribe_channel)
