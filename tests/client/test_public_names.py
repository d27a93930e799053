from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import turnwise

NAMES = [
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
    "OMIT",
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


def test_the_public_names_are_these() -> None:
    assert sorted(turnwise.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(turnwise, name) is not None


def test_dir_shows_the_public_names_alone() -> None:
    assert dir(turnwise) == sorted(NAMES)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'turnwise' has no attribute 'Conversations'"):
        turnwise.Conversations  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnusedExpression]


def test_importing_turnwise_imports_nothing_else() -> None:
    code = "import sys; known = set(sys.modules); import turnwise; print(sorted(set(sys.modules) - known))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "['__future__', 'turnwise']"


def test_the_clients_are_there_before_any_http_library() -> None:
    code = """import sys
from turnwise import AsyncTurnwise, Turnwise
print(sorted({"urllib3", "aiohttp", "asyncio", "http.client", "ssl", "email"} & set(sys.modules)))"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_the_version_is_the_projects(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert turnwise.__version__ == project["project"]["version"]
