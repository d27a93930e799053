"""Completions in the background: started, followed, looked at and stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from turnwise._call import Call, CallOptions
from turnwise._dispatch import DispatchCall, dispatched
from turnwise._params import (
    AttachmentParam,
    ContactParam,
    EntityParam,
    ExtensionsParam,
    FunctionParam,
    LimitsParam,
    MessageParam,
    ModelParam,
)
from turnwise.resources.exchange import complete_conversation, complete_stateless
from turnwise.types._base import OMIT, Omit
from turnwise.types.conversation import CompleteResult, EmptyRequest, StatelessCompleteResult
from turnwise.types.event import CompleteEvent, StatelessCompleteEvent
from turnwise.types.turn import Turn, TurnId

__all__ = ["cancel_dispatch", "cancel_turn", "dispatch_conversation", "dispatch_stateless", "fetch_turn"]

_TURN = "/api/v1/conversation/{conversationId}/turn"


def dispatch_stateless(
    conversation_id: None,
    /,
    *,
    messages: Sequence[MessageParam],
    bot_id: str | None | Omit = OMIT,
    model: ModelParam | None | Omit = OMIT,
    backstory: str | None | Omit = OMIT,
    dataset_id: str | None | Omit = OMIT,
    skillset_id: str | None | Omit = OMIT,
    privacy: bool | None | Omit = OMIT,
    moderation: bool | None | Omit = OMIT,
    attachments: Sequence[AttachmentParam] | None | Omit = OMIT,
    contact_id: ContactParam | None | Omit = OMIT,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    limits: LimitsParam | None | Omit = OMIT,
    channel_id: str | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> DispatchCall[StatelessCompleteResult, StatelessCompleteEvent]:
    """With `None` for an id: start replying to `messages`, at least one, and store nothing."""
    completion = complete_stateless(
        conversation_id,
        messages=messages,
        bot_id=bot_id,
        model=model,
        backstory=backstory,
        dataset_id=dataset_id,
        skillset_id=skillset_id,
        privacy=privacy,
        moderation=moderation,
        attachments=attachments,
        contact_id=contact_id,
        functions=functions,
        extensions=extensions,
        limits=limits,
        **options,
    )
    return dispatched(completion, channel_id)


def dispatch_conversation(
    conversation_id: str,
    /,
    *,
    text: str | None | Omit = OMIT,
    entities: Sequence[EntityParam] | None | Omit = OMIT,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    limits: LimitsParam | None | Omit = OMIT,
    channel_id: str | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> DispatchCall[CompleteResult, CompleteEvent]:
    """With a conversation's id: start a completion in the background; the arguments are those of `complete`.

    Its events are published on a channel, named by the answer. `channel_id`, at least 24 characters, names the channel
    and makes the request safe to repeat: the same one again starts nothing new.

    Streamed, the channel is followed to the completion's result, on a random one unless it is named. What cuts the
    connection, or restarts the server, is bridged: the stream connects again and goes on after the last event seen,
    until 10 attempts in a row, or as many as `retries` says, brought nothing. Leaving it leaves the work running;
    following a channel again begins with its first event.
    """
    completion = complete_conversation(
        conversation_id,
        text=text,
        entities=entities,
        functions=functions,
        extensions=extensions,
        limits=limits,
        **options,
    )
    return dispatched(completion, channel_id)


def cancel_dispatch(conversation_id: None, /, *, channel_id: str, **options: Unpack[CallOptions]) -> Call[TurnId]:  # noqa: ARG001 - tells this form from the other
    """With `None` for an id: end what was dispatched on `channel_id`. An extension of Turnwise's server."""
    return Call(
        method="POST",
        path="/api/v1/channel/{channelId}/turn/cancel",
        ids=(channel_id,),
        body=EmptyRequest(),
        options=options,
        result=TurnId,
    )


def cancel_turn(conversation_id: str, /, **options: Unpack[CallOptions]) -> Call[TurnId]:
    """With a conversation's id: end its running turn at once, and keep what was said.

    The turn's stream ends with the reason `abort`. An extension of Turnwise's server.
    """
    return Call(
        method="POST",
        path=f"{_TURN}/cancel",
        ids=(conversation_id,),
        body=EmptyRequest(),
        options=options,
        result=TurnId,
    )


def fetch_turn(conversation_id: str, /, **options: Unpack[CallOptions]) -> Call[Turn]:
    """Fetch the newest turn of a conversation. An extension of Turnwise's server.

    Where its state is `running` and it has a `channel_id`, `dispatch_stream` with that one follows it.
    """
    return Call(method="GET", path=f"{_TURN}/fetch", ids=(conversation_id,), options=options, result=Turn)
