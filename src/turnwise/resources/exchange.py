"""The exchanges of a conversation: the user's message, the bot's reply, or both at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from turnwise._call import CallOptions, StreamableCall
from turnwise._dispatch import resumable_form
from turnwise._params import (
    AttachmentParam,
    ContactParam,
    EntityParam,
    ExtensionsParam,
    FunctionParam,
    LimitsParam,
    MessageParam,
    ModelParam,
    message_inputs,
    model_text,
    one,
    some,
)
from turnwise.types._base import OMIT, Omit
from turnwise.types.conversation import (
    CompleteResult,
    ConversationCompleteRequest,
    ConversationCompleteStatelessRequest,
    ConversationReceiveRequest,
    ConversationSendRequest,
    ReceiveResult,
    SendResult,
    StatelessCompleteResult,
)
from turnwise.types.event import CompleteEvent, ReceiveEvent, SendEvent, StatelessCompleteEvent

__all__ = ["complete_conversation", "complete_stateless", "receive_message", "send_message"]

_ALL = "/api/v1/conversation"
_ONE = _ALL + "/{conversationId}"


def complete_stateless(
    conversation_id: None,  # noqa: ARG001 - tells this form from the other
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
    resumable: bool = False,
    **options: Unpack[CallOptions],
) -> StreamableCall[StatelessCompleteResult, StatelessCompleteEvent]:
    """With `None` for an id: reply to `messages`, at least one, and store nothing."""
    call: StreamableCall[StatelessCompleteResult, StatelessCompleteEvent] = StreamableCall(
        method="POST",
        path=f"{_ALL}/complete",
        body=ConversationCompleteStatelessRequest(
            messages=message_inputs(messages),
            bot_id=bot_id,
            model=model_text(model),
            backstory=backstory,
            dataset_id=dataset_id,
            skillset_id=skillset_id,
            privacy=privacy,
            moderation=moderation,
            attachments=some(attachments),
            contact_id=one(contact_id),
            functions=some(functions),
            extensions=one(extensions),
            limits=one(limits),
        ),
        options=options,
        patient=True,
        result=StatelessCompleteResult,
        events=StatelessCompleteEvent,
    )
    return resumable_form(call) if resumable else call


def complete_conversation(
    conversation_id: str,
    /,
    *,
    text: str | None | Omit = OMIT,
    entities: Sequence[EntityParam] | None | Omit = OMIT,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    limits: LimitsParam | None | Omit = OMIT,
    resumable: bool = False,
    **options: Unpack[CallOptions],
) -> StreamableCall[CompleteResult, CompleteEvent]:
    """With a conversation's id: store the user's message `text`, make the bot's reply and store that.

    Without `text` the bot goes on from what is stored. `functions` are what the model may call; where the result's
    `end.reason` is `activity`, it called one that the caller has to answer. `limits` bound the bot's work, each at
    least 1. While an awaited completion is silent it waits for up to 600 seconds.

    With `resumable` it is a dispatch and a subscription, see `dispatch`: it survives cut connections and restarts of
    the server, and runs on when its stream is left.
    """
    call: StreamableCall[CompleteResult, CompleteEvent] = StreamableCall(
        method="POST",
        path=f"{_ONE}/complete",
        ids=(conversation_id,),
        body=ConversationCompleteRequest(
            text=text,
            entities=some(entities),
            functions=some(functions),
            extensions=one(extensions),
            limits=one(limits),
        ),
        options=options,
        patient=True,
        result=CompleteResult,
        events=CompleteEvent,
    )
    return resumable_form(call) if resumable else call


def send_message(
    conversation_id: str,
    /,
    *,
    text: str,
    entities: Sequence[EntityParam] | None | Omit = OMIT,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> StreamableCall[SendResult, SendEvent]:
    """Store a message of the user's; no reply is made.

    `text` has at least one character that is no space. `entities` are those that earlier answers brought, so that the
    same value gets the same replacement.
    """
    return StreamableCall(
        method="POST",
        path=f"{_ONE}/send",
        ids=(conversation_id,),
        body=ConversationSendRequest(
            text=text, entities=some(entities), functions=some(functions), extensions=one(extensions)
        ),
        options=options,
        result=SendResult,
        events=SendEvent,
    )


def receive_message(
    conversation_id: str,
    /,
    *,
    functions: Sequence[FunctionParam] | None | Omit = OMIT,
    extensions: ExtensionsParam | None | Omit = OMIT,
    limits: LimitsParam | None | Omit = OMIT,
    **options: Unpack[CallOptions],
) -> StreamableCall[ReceiveResult, ReceiveEvent]:
    """Make the bot's reply to what is stored, and store it; the arguments are those of `complete`."""
    return StreamableCall(
        method="POST",
        path=f"{_ONE}/receive",
        ids=(conversation_id,),
        body=ConversationReceiveRequest(functions=some(functions), extensions=one(extensions), limits=one(limits)),
        options=options,
        patient=True,
        result=ReceiveResult,
        events=ReceiveEvent,
    )
