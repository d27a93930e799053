from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import jwt
import pytest
from tests.server.asgi import Api, Reply
from tests.server.postgres import PostgresServer

from turnwise.server.auth import Authenticator
from turnwise.server.errors import NotAuthenticated, Unavailable
from turnwise.server.ids import new_id, now
from turnwise.server.operation import Operation
from turnwise.server.principal import AccountPrincipal
from turnwise.server.routes import OPERATIONS
from turnwise.server.services.account import AccountService, digest_secret
from turnwise.server.services.session import SessionService
from turnwise.server.storage.base import Account, Storage

REACH = {
    "completeConversationMessage",
    "dispatchStatefulConversation",
    "fetchConversationTurn",
    "cancelConversationTurn",
    "receiveConversationMessage",
    "sendConversationMessage",
    "fetchConversation",
    "listConversationMessages",
    "createConversationMessage",
    "upvoteConversationMessage",
    "downvoteConversationMessage",
    "upsertConversationContact",
    "uploadConversationAttachment",
    "uploadAttachment",
}
"""What a session token opens; written out here once more, so that nothing is added to it by accident."""

BODIES: dict[str, dict[str, object]] = {
    "completeConversationMessage": {"text": "hi"},
    "sendConversationMessage": {"text": "hi"},
    "createConversationMessage": {"type": "user", "text": "hi"},
    "completeConversation": {"messages": [{"type": "user", "text": "hi"}]},
    "dispatchConversation": {"messages": [{"type": "user", "text": "hi"}]},
    "publishChannelMessage": {"message": {"text": "hi"}},
}

NO_TURN = {"fetchConversationTurn", "cancelConversationTurn", "cancelChannelTurn"}
"""Who asks these of the scene is let in, and told that no turn is there."""

UNBUILT = {operation.name for operation in OPERATIONS if operation.result is None and operation.events is None}


@dataclass
class Scene:
    """Two accounts; the first has two conversations."""

    api: Api
    conversation: str
    message: str
    other_conversation: str
    stranger: str
    token: str
    other_token: str

    async def ask(self, operation: Operation, secret: str | None, headers: dict[str, str] | None = None) -> Reply:
        path = operation.path.replace("{conversationId}", self.conversation).replace("{messageId}", self.message)
        path = path.replace("{channelId}", "channel-of-16-chars")
        endless = operation.name == "subscribeChannelMessages"
        body = BODIES.get(operation.name, {}) if operation.method == "POST" else None
        leave = asyncio.Event()
        leave.set()  # a channel is listened to until the client goes
        return await self.api(
            operation.method, f"/api/v1{path}", body, secret=secret, headers=headers, leave=leave if endless else None
        )


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Who may do what does not depend on the database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'api.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.emptied()


@pytest.fixture
async def scene(api: Api) -> Scene:
    accounts = AccountService(api.application.adapters.storage, new_id=new_id, clock=now)
    stranger = await accounts.create_secret("stranger")
    conversation = await api.conversation()
    other = await api.conversation()
    created = await api.post(f"/conversation/{conversation}/message/create", {"type": "user", "text": "hi"})
    return Scene(
        api=api,
        conversation=conversation,
        message=created.id,
        other_conversation=other,
        stranger=stranger.secret,
        token=await api.token(conversation),
        other_token=await api.token(other),
    )


every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


@every_operation
async def test_without_a_secret_every_operation_is_401(scene: Scene, operation: Operation) -> None:
    for headers in ({}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Basic eDp5"}):
        reply = await scene.ask(operation, "", headers)
        assert (reply.status, reply.code) == (401, "NOT_AUTHENTICATED")
        assert reply.headers["access-control-allow-origin"] == "*"


@every_operation
async def test_an_unknown_secret_is_401_everywhere(scene: Scene, operation: Operation) -> None:
    for secret in ("tw_nobody", "a.b.c", "x" * 5000):
        reply = await scene.ask(operation, secret)
        assert (reply.status, reply.code) == (401, "NOT_AUTHENTICATED")
        assert secret not in reply.text


@every_operation
async def test_another_accounts_data_is_403(scene: Scene, operation: Operation) -> None:
    reply = await scene.ask(operation, scene.stranger)
    if operation.name in UNBUILT:
        assert reply.status == 501
    elif "{conversationId}" in operation.path:
        assert (reply.status, reply.code) == (403, "NOT_AUTHORIZED")
    else:
        assert reply.status == (404 if operation.name in NO_TURN else 200)
        assert scene.conversation not in reply.text


@every_operation
async def test_a_session_token_opens_just_what_is_listed_in_its_own_conversation(
    scene: Scene, operation: Operation
) -> None:
    reply = await scene.ask(operation, scene.token)
    if operation.name not in REACH:
        assert (reply.status, reply.code) == (403, "NOT_AUTHORIZED")
    else:
        expected = 501 if operation.name in UNBUILT else 404 if operation.name in NO_TURN else 200
        assert reply.status == expected, reply.text


@every_operation
async def test_a_session_token_of_another_conversation_is_403_everywhere(scene: Scene, operation: Operation) -> None:
    reply = await scene.ask(operation, scene.other_token)
    assert (reply.status, reply.code) == (403, "NOT_AUTHORIZED")


@every_operation
async def test_forged_and_expired_tokens_are_401_everywhere(scene: Scene, operation: Operation) -> None:
    for token in await _bad_tokens(scene):
        reply = await scene.ask(operation, token)
        assert (reply.status, reply.code) == (401, "NOT_AUTHENTICATED")


async def _bad_tokens(scene: Scene) -> list[str]:
    key = await scene.api.application.adapters.storage.signing_key(b"")
    claims: dict[str, object] = jwt.decode(  # pyright: ignore[reportUnknownMemberType]
        scene.token, options={"verify_signature": False}
    )
    head, body, signature = scene.token.split(".")
    _, other_body, _ = scene.other_token.split(".")
    sign = cast("Callable[..., str]", jwt.encode)  # pyright: ignore[reportUnknownMemberType]
    return [
        sign(claims, b"k" * 32, algorithm="HS256"),
        sign(claims, None, algorithm="none"),
        sign(claims, key.ljust(64, b"\0"), algorithm="HS512"),
        sign({**claims, "until": now() - 1}, key, algorithm="HS256"),
        sign({**claims, "until": "never"}, key, algorithm="HS256"),
        sign({**claims, "aud": "elsewhere"}, key, algorithm="HS256"),
        sign({name: value for name, value in claims.items() if name != "account"}, key, algorithm="HS256"),
        f"{head}.{other_body}.{signature}",
        f"{head}.{body}.",
    ]


@every_operation
async def test_acting_for_others_is_501_with_the_headers_name(scene: Scene, operation: Operation) -> None:
    for name in ("x-runas-user-id", "x-runas-child-user-email"):
        reply = await scene.ask(operation, None, {name: "somebody"})
        assert reply.status == 501
        assert reply.message.startswith(name)


async def test_a_token_lasts_as_long_as_was_asked_for(scene: Scene) -> None:
    path = f"/conversation/{scene.conversation}"
    reply = await scene.api.post(f"{path}/session/create", {"durationInSeconds": 1})
    token = str(reply.json["token"])
    expires_at = reply.json["expiresAt"]
    assert isinstance(expires_at, int)
    assert 0 < expires_at - now() <= 1000
    assert (await scene.api.get(f"{path}/fetch", secret=token)).status == 200
    await asyncio.sleep((expires_at - now()) / 1000 + 0.01)
    assert (await scene.api.get(f"{path}/fetch", secret=token)).status == 401


@pytest.mark.parametrize("seconds", [0, 0.5, 86401, -1, "long"])
async def test_a_duration_out_of_bounds_is_400(scene: Scene, seconds: object) -> None:
    reply = await scene.api.post(f"/conversation/{scene.conversation}/session/create", {"durationInSeconds": seconds})
    assert reply.status == 400
    assert reply.message.startswith("$.durationInSeconds")


async def test_deleting_a_conversation_ends_its_tokens(scene: Scene) -> None:
    await scene.api.post(f"/conversation/{scene.conversation}/delete")
    reply = await scene.api.get(f"/conversation/{scene.conversation}/fetch", secret=scene.token)
    assert reply.status == 401
    other = await scene.api.get(f"/conversation/{scene.other_conversation}/fetch", secret=scene.other_token)
    assert other.status == 200


async def test_revoking_the_last_secret_ends_the_accounts_tokens(scene: Scene) -> None:
    api = scene.api
    storage = api.application.adapters.storage
    accounts = AccountService(storage, new_id=new_id, clock=now)
    first = await accounts.create_secret("shop")
    second = await accounts.create_secret("shop")
    conversation = (await api.post("/conversation/create", secret=first.secret)).id
    made = await api.post(f"/conversation/{conversation}/session/create", secret=first.secret)
    token = str(made.json["token"])
    await accounts.revoke_secret(first.id)
    assert (await api.get(f"/conversation/{conversation}/fetch", secret=token)).status == 200
    await accounts.revoke_secret(second.id)
    assert (await api.get(f"/conversation/{conversation}/fetch", secret=token)).status == 401


async def test_a_revoked_secret_is_refused_within_a_second(api: Api) -> None:
    clock = [0.0]
    storage = api.application.adapters.storage
    accounts = AccountService(storage, new_id=new_id, clock=now)
    made = await accounts.create_secret("shop")
    sessions = SessionService(storage, clock=now, key=b"k" * 32)
    authenticator = Authenticator(storage, sessions, monotonic=lambda: clock[0])
    header = f"Bearer {made.secret}".encode()
    assert await authenticator.authenticate(header) == AccountPrincipal(made.account.id)
    await accounts.revoke_secret(made.id)
    clock[0] = 1.0
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(header)


async def test_a_secret_revoked_in_this_process_can_be_forgotten_at_once(api: Api) -> None:
    storage = api.application.adapters.storage
    accounts = AccountService(storage, new_id=new_id, clock=now)
    made = await accounts.create_secret("shop")
    authenticator = Authenticator(storage, SessionService(storage, clock=now, key=b"k" * 32), monotonic=lambda: 0.0)
    header = f"bearer   {made.secret}".encode()
    await authenticator.authenticate(header)
    await accounts.revoke_secret(made.id)
    authenticator.forget()
    with pytest.raises(NotAuthenticated):
        await authenticator.authenticate(header)


class Asked:
    """A storage that finds secrets, and answers when it may."""

    def __init__(self) -> None:
        self.count = 0
        self.problem: Exception | None = None
        self.may_answer = asyncio.Event()

    async def find_account(self, _digest: bytes) -> Account | None:
        self.count += 1
        await self.may_answer.wait()
        if self.problem is not None:
            raise self.problem
        return Account(id="shop", name="shop")


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def authenticator(asked: Asked) -> Authenticator:
    storage = cast("Storage", asked)
    return Authenticator(storage, SessionService(storage, clock=now, key=b"k" * 32), monotonic=lambda: 0.0)


async def test_a_secret_is_looked_up_once_for_all_who_come_with_it_meanwhile(
    asked: Asked, authenticator: Authenticator
) -> None:
    coming = [asyncio.create_task(authenticator.authenticate(b"Bearer tw_1")) for _ in range(5)]
    other = asyncio.create_task(authenticator.authenticate(b"Bearer tw_2"))
    await asyncio.sleep(0)
    coming[0].cancel()  # whoever goes takes nothing from the others
    await asyncio.sleep(0)
    asked.may_answer.set()
    assert await asyncio.gather(*coming[1:], other) == [AccountPrincipal("shop")] * 5
    assert asked.count == 2
    assert authenticator.recognize(b"Bearer tw_1") == AccountPrincipal("shop")


async def test_a_look_up_that_failed_is_remembered_for_nobody(asked: Asked, authenticator: Authenticator) -> None:
    asked.problem = Unavailable("The database is away.")
    asked.may_answer.set()
    coming = [asyncio.create_task(authenticator.authenticate(b"Bearer tw_1")) for _ in range(2)]
    assert await asyncio.gather(*coming, return_exceptions=True) == [asked.problem] * 2
    asked.problem = None
    assert await authenticator.authenticate(b"Bearer tw_1") == AccountPrincipal("shop")
    assert asked.count == 2


async def test_what_was_looked_up_before_all_was_forgotten_is_not_remembered(
    asked: Asked, authenticator: Authenticator
) -> None:
    before = asyncio.create_task(authenticator.authenticate(b"Bearer tw_1"))
    await asyncio.sleep(0)
    authenticator.forget()
    asked.may_answer.set()
    await before
    assert authenticator.recognize(b"Bearer tw_1") is None


def test_what_is_stored_of_a_secret_does_not_hold_it() -> None:
    assert len(digest_secret("tw_secret")) == 32
