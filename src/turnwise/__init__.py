"""Turnwise: the client of a conversation API that you run yourself.

    from turnwise import Turnwise

    with Turnwise(base_url="http://127.0.0.1:8000", secret="...") as client:
        reply = client.conversation.complete(None, messages=[{"type": "user", "text": "When do you open?"}])
        print(reply.text)

Nothing is imported before it is asked for: every name below knows its module.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know this name; importing it from typing costs more than all the rest here
if TYPE_CHECKING:
    from turnwise._call import CallOptions, Timeout
    from turnwise._client import AsyncTurnwise, Turnwise
    from turnwise._errors import (
        APIError,
        AuthenticationError,
        BadGatewayError,
        BadRequestError,
        ConflictError,
        ConnectError,
        ConnectionFailedError,
        ConnectionLost,
        ConnectTimeout,
        ContentTooLargeError,
        DecodeError,
        GatewayTimeoutError,
        IdleTimeout,
        InternalServerError,
        MethodNotAllowedError,
        NotFoundError,
        NotImplementedByServerError,
        PermissionDeniedError,
        RateLimitError,
        RequestTimeoutError,
        ServerError,
        ServiceUnavailableError,
        StreamError,
        StreamInterrupted,
        SubscriptionError,
        TimedOutError,
        TotalTimeout,
        TurnwiseError,
        UnprocessableEntityError,
    )
    from turnwise._pagination import AsyncPage, Page
    from turnwise._raw import RawResponse
    from turnwise._resume import AsyncResumableStream, ResumableStream
    from turnwise._streaming import AsyncStream, Stream
    from turnwise.resources.channel import AsyncChannelClient, ChannelClient
    from turnwise.resources.conversation import AsyncConversationClient, ConversationClient
    from turnwise.resources.message import AsyncMessageClient, MessageClient
    from turnwise.resources.session import AsyncSessionClient, SessionClient
    from turnwise.types._base import OMIT, Milliseconds, Omit, ResponseInfo
    from turnwise.types.channel import ChannelPublishResult
    from turnwise.types.conversation import (
        AttachmentReference,
        CompleteEnd,
        CompleteResult,
        ContactInput,
        Conversation,
        ConversationCreateResult,
        ConversationId,
        DispatchResult,
        ReceiveResult,
        SendResult,
        StatelessCompleteResult,
    )
    from turnwise.types.event import (
        AbortEvent,
        AnyEvent,
        AttemptEvent,
        ChannelEvent,
        ChannelMessageEvent,
        CompleteBeginEvent,
        CompleteEndEvent,
        CompleteEvent,
        ConversationItemEvent,
        ErrorEvent,
        ItemEvent,
        MessageEvent,
        MessageItemEvent,
        NopEvent,
        PingEvent,
        ReasoningTokenEvent,
        ReceiveEvent,
        ReceiveResultEvent,
        ResultEvent,
        SendEvent,
        SendResultEvent,
        StatelessCompleteEvent,
        TokenEvent,
        UnknownEvent,
        UsageEvent,
        WaitForChannelMessageBeginEvent,
        WaitForChannelMessageEndEvent,
    )
    from turnwise.types.extension import Ability, Dataset, DatasetRecord, Extensions, Feature, Limits, Skillset
    from turnwise.types.function import FunctionCall, FunctionDefinition, FunctionResult
    from turnwise.types.message import (
        Entity,
        EntityReplacement,
        Message,
        MessageCreateResult,
        MessageId,
        MessageInput,
        TextMessage,
    )
    from turnwise.types.model import Model
    from turnwise.types.session import Session
    from turnwise.types.turn import Turn, TurnId
    from turnwise.types.usage import ConversationUsage, ModelUsage, Usage

__version__ = "0.1.0"

_HOMES = {
    "turnwise._call": "CallOptions Timeout",
    "turnwise._client": "AsyncTurnwise Turnwise",
    "turnwise._errors": (
        "APIError AuthenticationError BadGatewayError BadRequestError ConflictError ConnectError "
        "ConnectTimeout ConnectionFailedError ConnectionLost ContentTooLargeError DecodeError "
        "GatewayTimeoutError IdleTimeout InternalServerError MethodNotAllowedError NotFoundError "
        "NotImplementedByServerError PermissionDeniedError RateLimitError RequestTimeoutError ServerError "
        "ServiceUnavailableError StreamError StreamInterrupted SubscriptionError TimedOutError TotalTimeout "
        "TurnwiseError UnprocessableEntityError"
    ),
    "turnwise._pagination": "AsyncPage Page",
    "turnwise._raw": "RawResponse",
    "turnwise._resume": "AsyncResumableStream ResumableStream",
    "turnwise._streaming": "AsyncStream Stream",
    "turnwise.resources.channel": "AsyncChannelClient ChannelClient",
    "turnwise.resources.conversation": "AsyncConversationClient ConversationClient",
    "turnwise.resources.message": "AsyncMessageClient MessageClient",
    "turnwise.resources.session": "AsyncSessionClient SessionClient",
    "turnwise.types._base": "Milliseconds OMIT Omit ResponseInfo",
    "turnwise.types.channel": "ChannelPublishResult",
    "turnwise.types.conversation": (
        "AttachmentReference CompleteEnd CompleteResult ContactInput Conversation ConversationCreateResult "
        "ConversationId DispatchResult ReceiveResult SendResult StatelessCompleteResult"
    ),
    "turnwise.types.event": (
        "AbortEvent AnyEvent AttemptEvent ChannelEvent ChannelMessageEvent "
        "CompleteBeginEvent CompleteEndEvent CompleteEvent ConversationItemEvent "
        "ErrorEvent ItemEvent MessageEvent MessageItemEvent NopEvent PingEvent ReasoningTokenEvent "
        "ReceiveEvent ReceiveResultEvent ResultEvent SendEvent SendResultEvent StatelessCompleteEvent "
        "TokenEvent UnknownEvent UsageEvent WaitForChannelMessageBeginEvent WaitForChannelMessageEndEvent"
    ),
    "turnwise.types.extension": "Ability Dataset DatasetRecord Extensions Feature Limits Skillset",
    "turnwise.types.function": "FunctionCall FunctionDefinition FunctionResult",
    "turnwise.types.message": (
        "Entity EntityReplacement Message MessageCreateResult MessageId MessageInput TextMessage"
    ),
    "turnwise.types.model": "Model",
    "turnwise.types.session": "Session",
    "turnwise.types.turn": "Turn TurnId",
    "turnwise.types.usage": "ConversationUsage ModelUsage Usage",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "OMIT",
    "APIError",
    "Ability",
    "AbortEvent",
    "AnyEvent",
    "AsyncChannelClient",
    "AsyncConversationClient",
    "AsyncMessageClient",
    "AsyncPage",
    "AsyncResumableStream",
    "AsyncSessionClient",
    "AsyncStream",
    "AsyncTurnwise",
    "AttachmentReference",
    "AttemptEvent",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "CallOptions",
    "ChannelClient",
    "ChannelEvent",
    "ChannelMessageEvent",
    "ChannelPublishResult",
    "CompleteBeginEvent",
    "CompleteEnd",
    "CompleteEndEvent",
    "CompleteEvent",
    "CompleteResult",
    "ConflictError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionFailedError",
    "ConnectionLost",
    "ContactInput",
    "ContentTooLargeError",
    "Conversation",
    "ConversationClient",
    "ConversationCreateResult",
    "ConversationId",
    "ConversationItemEvent",
    "ConversationUsage",
    "Dataset",
    "DatasetRecord",
    "DecodeError",
    "DispatchResult",
    "Entity",
    "EntityReplacement",
    "ErrorEvent",
    "Extensions",
    "Feature",
    "FunctionCall",
    "FunctionDefinition",
    "FunctionResult",
    "GatewayTimeoutError",
    "IdleTimeout",
    "InternalServerError",
    "ItemEvent",
    "Limits",
    "Message",
    "MessageClient",
    "MessageCreateResult",
    "MessageEvent",
    "MessageId",
    "MessageInput",
    "MessageItemEvent",
    "MethodNotAllowedError",
    "Milliseconds",
    "Model",
    "ModelUsage",
    "NopEvent",
    "NotFoundError",
    "NotImplementedByServerError",
    "Omit",
    "Page",
    "PermissionDeniedError",
    "PingEvent",
    "RateLimitError",
    "RawResponse",
    "ReasoningTokenEvent",
    "ReceiveEvent",
    "ReceiveResult",
    "ReceiveResultEvent",
    "RequestTimeoutError",
    "ResponseInfo",
    "ResultEvent",
    "ResumableStream",
    "SendEvent",
    "SendResult",
    "SendResultEvent",
    "ServerError",
    "ServiceUnavailableError",
    "Session",
    "SessionClient",
    "Skillset",
    "StatelessCompleteEvent",
    "StatelessCompleteResult",
    "Stream",
    "StreamError",
    "StreamInterrupted",
    "SubscriptionError",
    "TextMessage",
    "TimedOutError",
    "Timeout",
    "TokenEvent",
    "TotalTimeout",
    "Turn",
    "TurnId",
    "Turnwise",
    "TurnwiseError",
    "UnknownEvent",
    "UnprocessableEntityError",
    "Usage",
    "UsageEvent",
    "WaitForChannelMessageBeginEvent",
    "WaitForChannelMessageEndEvent",
    "__version__",
]


if not TYPE_CHECKING:  # pragma: no branch - a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name from its module, the first time it is asked for."""
        module = _HOME.get(name)
        if module is None:
            raise AttributeError(f"module 'turnwise' has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
