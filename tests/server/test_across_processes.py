"""Two applications on one database, as two server processes are: what one of them was told holds for the other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.server.asgi import FINISH, Api, Reply, ScriptedModel, ScriptedModels
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import Adapter, PostgresAdapter, SqliteAdapter
from tests.stalls import Stalls

from turnwise.server.app import Adapters, create_app
from turnwise.server.ids import new_id, now
from turnwise.server.models.base import Delta, Finish, FunctionCall, ModelConfig, Prompt, TextDelta
from turnwise.server.models.registry import ResolvedModel
from turnwise.server.services.account import AccountService
from turnwise.server.services.idempotency import hash_body
from turnwise.server.settings import Settings
from turnwise.server.storage.base import Once
from turnwise.server.storage.journal import Place
from turnwise.server.storage.open import storage_at

FUNCTION_CHANNEL = "function-channel-of-16-or-more"
DISPATCH = "dispatch-channel-of-16-or-more"
CALLS = Finish(reason="calls", input_tokens=7, output_tokens=3)
ASKS: dict[str, object] = {
    "text": "What is the weather?",
    "functions": [
        {
            "name": "weather",
            "description": "Tells the weather",
            "parameters": {"type": "object", "properties": {}},
            "result": {"channel": FUNCTION_CHANNEL},
        }
    ],
}


class CallingModel:
    """Calls a function, and says what came of it."""

    name = "calling"
    context_window = 8000

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        if prompt.messages[-1].activity is None:
            yield [FunctionCall("c1", "weather", "{}"), CALLS]
        else:
            yield [TextDelta(str(prompt.messages[-1].activity)), FINISH]


class CallingModels(ScriptedModels):
    async def resolve(self, model: str | None) -> ResolvedModel:
        return ResolvedModel(CallingModel(), ModelConfig()) if model is None else await super().resolve(model)


@dataclass
class Deployment:
    """The applications, and a secret of the account that is stored."""

    one: Api
    two: Api
    accounts: AccountService

    async def secret(self) -> tuple[str, str]:
        """Make a secret; return its id and itself."""
        made = await self.accounts.create_secret("shop")
        return made.id, made.secret


@pytest.fixture(params=["sqlite", "postgres"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteAdapter | PostgresAdapter:
    if request.param == "sqlite":
        return SqliteAdapter(tmp_path / "shared.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return PostgresAdapter(server.emptied())


@pytest.fixture
def url(adapter: SqliteAdapter | PostgresAdapter) -> str:
    return adapter.url if isinstance(adapter, PostgresAdapter) else f"sqlite:///{adapter.path}"


@pytest.fixture
async def deployment(url: str, settings: Settings) -> AsyncGenerator[Deployment, None]:
    chosen = replace(settings, database_url=url)
    models = [CallingModels() for _ in range(2)]
    applications = [
        create_app(chosen, Adapters(storage=storage_at(url), models=each, guest_secret="")) for each in models
    ]
    for application in applications:
        await application.open()
    accounts = AccountService(applications[0].adapters.storage, new_id=new_id, clock=now)
    secret = (await accounts.create_secret("shop")).secret
    one, two = (Api(application, secret, each) for application, each in zip(applications, models, strict=True))
    yield Deployment(one, two, accounts)
    for application in applications:
        await application.close()


async def wait_until(true: Callable[[], Coroutine[Any, Any, bool]]) -> float:
    """Return after how many seconds it was."""
    began = time.monotonic()
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def waits(reply: Reply) -> bool:
    return "waitForChannelMessageBegin" in reply.types


class TestWaits:
    async def test_a_token_answers_a_call_through_a_process_that_does_not_run_the_turn(
        self, deployment: Deployment
    ) -> None:
        one, two = deployment.one, deployment.two
        conversation = await one.conversation()
        token = await two.token(conversation)
        publish = f"/channel/{FUNCTION_CHANNEL}/publish"
        refused = await two.post(publish, {"message": {"data": 0}}, secret=token)
        assert refused.status == 403
        reply = Reply()
        path = f"/api/v1/conversation/{conversation}/complete"
        asking = asyncio.create_task(one("POST", path, ASKS, accept="application/jsonl", reply=reply))
        await wait_until(lambda: waits(reply))
        other = await two.token(await one.conversation())
        assert (await two.post(publish, {"message": {"data": 0}}, secret=other)).status == 403
        answered = await two.post(publish, {"message": {"data": "It rains."}}, secret=token)
        assert answered.status == 200, answered.text
        await asking
        assert reply.types[-1] == "result"
        assert "It rains." in str(reply.data(-1))
        await wait_until(lambda: _refused(two, publish, token))

    async def test_a_dispatched_turn_is_answered_and_heard_through_the_other_process(
        self, deployment: Deployment
    ) -> None:
        one, two = deployment.one, deployment.two
        conversation = await one.conversation()
        token = await one.token(conversation)
        heard = asyncio.create_task(two.heard(DISPATCH))
        body = {**ASKS, "channelId": DISPATCH}
        assert (await one.post(f"/conversation/{conversation}/dispatch", body)).status == 200
        publish = f"/channel/{FUNCTION_CHANNEL}/publish"
        await wait_until(lambda: _accepted(two, publish, token))
        events = await heard
        assert [event["type"] for event in events][-1] == "result"
        assert "It rains." in str(events[-1])

    async def test_a_turn_that_is_broken_off_waits_for_nothing(self, deployment: Deployment) -> None:
        one, two = deployment.one, deployment.two
        conversation = await one.conversation()
        token = await one.token(conversation)
        reply, leave = Reply(), asyncio.Event()
        path = f"/api/v1/conversation/{conversation}/complete"
        asking = asyncio.create_task(one("POST", path, ASKS, accept="application/jsonl", reply=reply, leave=leave))
        await wait_until(lambda: waits(reply))
        leave.set()
        await asking
        await wait_until(lambda: _refused(two, f"/channel/{FUNCTION_CHANNEL}/publish", token))


async def _refused(api: Api, path: str, token: str) -> bool:
    return (await api.post(path, {"message": {"data": "late"}}, secret=token)).status == 403


async def _accepted(api: Api, path: str, token: str) -> bool:
    return (await api.post(path, {"message": {"data": "It rains."}}, secret=token)).status == 200


class TestWhatIsShared:
    async def test_a_request_that_both_get_at_once_is_done_once(self, deployment: Deployment) -> None:
        one, two = deployment.one, deployment.two
        conversation = await one.conversation()
        path = f"/conversation/{conversation}/send"
        for number in range(10):
            replies = await asyncio.gather(
                *(api.post(path, {"text": f"hi {number}"}, key=f"k{number}") for api in (one, two, one, two))
            )
            assert {reply.status for reply in replies} == {200}
            assert len({reply.body for reply in replies}) == 1
        assert await two.texts(conversation) == [("user", f"hi {number}") for number in range(10)]

    async def test_a_key_that_one_knows_with_another_body_is_a_conflict_at_the_other(
        self, deployment: Deployment
    ) -> None:
        one, two = deployment.one, deployment.two
        conversation = await one.conversation()
        path = f"/conversation/{conversation}/send"
        assert (await one.post(path, {"text": "one"}, key="k")).status == 200
        assert (await two.post(path, {"text": "two"}, key="k")).status == 409

    async def test_a_publication_that_both_get_at_once_is_heard_once(self, deployment: Deployment) -> None:
        one, two = deployment.one, deployment.two
        path = f"/channel/{FUNCTION_CHANNEL}/publish"
        reply, leave = Reply(), asyncio.Event()
        subscribe = f"/api/v1/channel/{FUNCTION_CHANNEL}/subscribe"
        asking = two("POST", subscribe, {}, accept="application/jsonl", leave=leave, reply=reply)
        listening = asyncio.create_task(asking)
        await wait_until(lambda: _has(reply, 1))
        for number in range(5):
            await asyncio.gather(*(api.post(path, {"message": {"n": number}}, key=f"k{number}") for api in (one, two)))
        await one.post(path, {"message": {"n": 5}})
        await wait_until(lambda: _has(reply, 7))
        leave.set()
        await listening
        assert [event["data"] for event in reply.events[1:]] == [{"n": number} for number in range(6)]

    async def test_one_vote_in_a_minute_counts_whichever_process_gets_it(
        self, deployment: Deployment, adapter: Adapter
    ) -> None:
        one, two = deployment.one, deployment.two
        conversation = await one.conversation(messages=[{"type": "bot", "text": "hi"}])
        message = (await one.get(f"/conversation/{conversation}/message/list")).items[0]["id"]
        for path in (f"/conversation/{conversation}", f"/conversation/{conversation}/message/{message}"):
            replies = await asyncio.gather(*(api.post(f"{path}/upvote", {}) for api in (one, two, one, two)))
            assert {reply.status for reply in replies} == {200}
        assert adapter.rows("votes") == 2

    async def test_a_secret_that_was_revoked_is_refused_everywhere_within_a_second(
        self, deployment: Deployment, stalls: Stalls
    ) -> None:
        id_, secret = await deployment.secret()
        for api in (deployment.one, deployment.two):
            assert (await api.get("/conversation/list", secret=secret)).status == 200
        await deployment.accounts.revoke_secret(id_)
        one, two = deployment.one, deployment.two
        assert await wait_until(lambda: _unknown(one, "/conversation/list", secret)) < 1.5 + stalls.allowance
        assert await wait_until(lambda: _unknown(two, "/conversation/list", secret)) < 1.5 + stalls.allowance

    async def test_a_token_ends_everywhere_with_its_conversation_and_its_accounts_last_secret(
        self, deployment: Deployment
    ) -> None:
        one, two = deployment.one, deployment.two
        deleted, kept = await one.conversation(), await one.conversation()
        tokens = {id_: await one.token(id_) for id_ in (deleted, kept)}
        for id_, token in tokens.items():
            assert (await two.get(f"/conversation/{id_}/fetch", secret=token)).status == 200
        await one.post(f"/conversation/{deleted}/delete")
        assert (await two.get(f"/conversation/{deleted}/fetch", secret=tokens[deleted])).status == 401
        assert (await two.get(f"/conversation/{kept}/fetch", secret=tokens[kept])).status == 200
        for info in await deployment.accounts.secrets():
            await deployment.accounts.revoke_secret(info.id)
        assert (await two.get(f"/conversation/{kept}/fetch", secret=tokens[kept])).status == 401


STATELESS = "/conversation/complete"


def question(model: str) -> dict[str, object]:
    return {"messages": [{"type": "user", "text": "Well?"}], "model": model}


async def asked(model: ScriptedModel) -> bool:
    return model.waits.is_set()


class TestStatelessCompletions:
    async def test_what_one_answers_the_other_waits_for(self, deployment: Deployment) -> None:
        one, two = deployment.one, deployment.two
        slow, other = one.models.scripted["slow"], two.models.scripted["slow"]
        first = asyncio.create_task(one.post(STATELESS, question("slow"), key="k"))
        await wait_until(lambda: asked(slow))
        assert (await two.post(STATELESS, question("echo"), key="k")).status == 409
        repeat = asyncio.create_task(two.post(STATELESS, question("slow"), key="k"))
        await asyncio.sleep(0.3)
        assert not repeat.done()
        slow.go_on.set()
        answers = await asyncio.gather(first, repeat)
        assert [reply.status for reply in answers] == [200, 200]
        assert answers[0].json == answers[1].json
        assert (len(slow.prompts), len(other.prompts)) == (1, 0)

    async def test_what_one_gives_up_the_other_answers(self, deployment: Deployment) -> None:
        one, two = deployment.one, deployment.two
        slow = one.models.scripted["slow"]
        reply, leave = Reply(), asyncio.Event()
        path = f"/api/v1{STATELESS}"
        asking = one("POST", path, question("slow"), key="k", accept="application/jsonl", reply=reply, leave=leave)
        first = asyncio.create_task(asking)
        await wait_until(lambda: asked(slow))
        two.models.scripted["slow"].go_on.set()
        repeat = asyncio.create_task(two.post(STATELESS, question("slow"), key="k"))
        leave.set()
        await first
        assert (await repeat).json["text"] == "Well, yes"

    async def test_what_failed_at_one_is_free_at_the_other(self, deployment: Deployment) -> None:
        one, two = deployment.one, deployment.two
        assert (await one.post(STATELESS, question("refuses"), key="k")).status == 429
        assert (await two.post(STATELESS, question("refuses"), key="k")).status == 429
        assert len(two.models.scripted["refuses"].prompts) == 1

    async def test_what_a_dead_process_began_another_answers(
        self, deployment: Deployment, adapter: SqliteAdapter | PostgresAdapter
    ) -> None:
        storage = deployment.one.application.adapters.storage
        account = await deployment.accounts.ensure_account("shop")
        body = json.dumps(question("echo")).encode()
        keyed = Once(path=f"/v1{STATELESS}", key="k", body=hash_body(body), now=now())
        await storage.register_process("dead", lease_ms=60_000)
        place = Place(turn_id="t", process_id="dead", attempt=1)
        assert await storage.claim_once(account.id, keyed, place) is None
        repeat = asyncio.create_task(deployment.two.post(STATELESS, question("echo"), key="k"))
        await asyncio.sleep(0.3)
        assert not repeat.done()
        adapter.lapse("dead")
        assert (await repeat).json["text"] == "You said: Well?"


class TestTheFirstSecret:
    async def test_several_servers_that_start_at_once_make_one(self, url: str) -> None:
        storages = [storage_at(url) for _ in range(3)]
        for storage in storages:
            await storage.open()
        services = [AccountService(storage, new_id=new_id, clock=now) for storage in storages]
        made = await asyncio.gather(*(service.first_secret() for service in services))
        assert len([secret for secret in made if secret is not None]) == 1
        assert len(await services[0].secrets()) == 1
        for storage in storages:
            await storage.close()

    async def test_a_server_that_died_before_it_made_one_is_stood_in_for(self, url: str) -> None:
        storage = storage_at(url)
        await storage.open()
        service = AccountService(storage, new_id=new_id, clock=now)
        await service.ensure_account("default")
        assert await service.first_secret(patience=0.1) is not None
        assert await service.first_secret() is None
        await storage.close()


async def _has(reply: Reply, count: int) -> bool:
    return len(reply.events) >= count


async def _unknown(api: Api, path: str, secret: str) -> bool:
    return (await api.get(path, secret=secret)).status == 401
