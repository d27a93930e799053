"""Limits of accounts and session tokens, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial

import pytest
from tests.server.asgi import Api, Reply, ScriptedModels
from tests.server.conftest import SECRET
from tests.server.postgres import PostgresServer

from turnwise.server.app import Adapters, create_app
from turnwise.server.ids import new_id, now
from turnwise.server.services.account import AccountService
from turnwise.server.services.rates import Rates
from turnwise.server.settings import Settings
from turnwise.server.storage.journal import NewTurn, TurnRow
from turnwise.server.storage.open import storage_at
from turnwise.server.storage.rates import Others

pytestmark = pytest.mark.forgives_stalls

LIMITS = Settings(
    ping_interval=5,
    turn_timeout=5,
    grace=1,
    max_account_requests=20,
    max_account_messages=5,
    max_account_tokens=25,
    max_account_turns=2,
    max_session_requests=6,
    max_session_messages=3,
    max_session_tokens=15,
    max_session_turns=1,
)


@pytest.fixture
def settings() -> Settings:
    return LIMITS


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: object) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/api.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.emptied()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens soon."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for knows of no event
            await asyncio.sleep(0.01)


def rates_of(api: Api) -> Rates:
    rates = api.application._rates
    assert rates is not None
    return rates


def told(*apis: Api) -> bool:
    """Tell whether all that was counted has been told to other processes, and read what they had told."""
    uses = [use for api in apis for use in rates_of(api)._uses.values()]
    return not any(use.dirty or any(use.unsent) for use in uses)


def refused(reply: Reply, name: str, *, limit: int, left: int = 0, window: bool = True) -> bool:
    """Tell whether a reply refuses, names the limit and says when to come back."""
    seconds = int(reply.headers["retry-after"])
    assert (reply.status, reply.code) == (429, "LIMITS_REACHED"), reply.text
    assert 1 <= seconds <= 65
    assert reply.headers["ratelimit-policy"] == f'"{name}";q={limit}' + (";w=60" if window else "")
    assert reply.headers["ratelimit"] == f'"{name}";r={left};t={seconds}'
    assert f"limit of {limit:,} {name.split('-')[1]}" in reply.message
    return True


async def test_a_turn_that_a_starting_server_takes_over_at_once_is_counted_and_runs(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at(database)
    await storage.open()
    account = await AccountService(storage, new_id=new_id, clock=now).ensure_account("default")
    await storage.register_process("dead", lease_ms=60_000)
    left = NewTurn(
        id=new_id(),
        process_id="dead",
        account_id=account.id,
        conversation_id=None,
        channel_id="channel-of-a-dispatch-left-behind",
        kind="dispatch",
        request=b'{"messages":[{"type":"user","text":"Hello"}]}',
        now=now(),
    )
    await storage.queue_turn(left)
    await storage.leave_process("dead")

    async def ended() -> TurnRow | None:
        found = await storage.find_turn(account.id, channel_id=left.channel_id)
        return found if found is not None and found.ended_at is not None else None

    opened = storage_at(database)
    find_rates = opened.find_rates

    async def slow(process_id: str, subjects: Sequence[str]) -> Others:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while await ended() is None:  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.01)
        return await find_rates(process_id, subjects)

    monkeypatch.setattr(opened, "find_rates", slow)
    application = create_app(replace(LIMITS, database_url=database), Adapters(storage=opened, models=ScriptedModels()))
    await application.open()
    async with asyncio.timeout(60):
        while (turn := await ended()) is None:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
    await application.close()
    await storage.close()
    assert (turn.state, turn.reason) == ("done", "stop")


async def test_requests_beyond_the_limit_are_refused_and_say_when_to_come_back(api: Api) -> None:
    conversation = await api.conversation()
    for _ in range(19):
        assert (await api.get(f"/conversation/{conversation}/fetch")).status == 200
    reply = await api.get(f"/conversation/{conversation}/fetch")
    assert refused(reply, "account-requests", limit=20)
    seconds = reply.headers["retry-after"]
    assert reply.message == (
        f"The account has reached its limit of 20 requests a minute: 0 are left. Come back in {seconds} seconds."
    )


async def test_an_answer_tells_how_many_requests_are_left_once_half_of_them_is_used(api: Api) -> None:
    for _ in range(9):
        assert "ratelimit" not in (await api.get("/conversation/list")).headers
    for left in (10, 9):
        reply = await api.get("/conversation/list")
        assert reply.headers["ratelimit-policy"] == '"account-requests";q=20;w=60'
        assert reply.headers["ratelimit"].startswith(f'"account-requests";r={left};t=')
    wrong = await api.get("/conversation/nowhere/fetch")
    assert wrong.status == 404
    assert wrong.headers["ratelimit"].startswith('"account-requests";r=8;t=')


async def test_a_page_of_another_origin_may_read_what_is_left(api: Api) -> None:
    reply = await api("GET", "/v1/conversation/list", headers={"origin": "https://shop.example"})
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(
        reply.headers["access-control-expose-headers"].split(", ")
    )


async def test_who_is_not_known_is_not_counted_and_told_nothing(api: Api) -> None:
    for _ in range(30):
        reply = await api.get("/conversation/list", secret="tw_wrong")
        assert reply.status == 401
        assert "ratelimit" not in reply.headers
    assert (await api.get("/conversation/list")).status == 200


async def test_messages_beyond_the_limit_are_refused_and_not_stored(api: Api) -> None:
    conversation = await api.conversation(messages=[{"type": "user", "text": str(number)} for number in range(3)])
    path = f"/conversation/{conversation}"
    assert (await api.post(f"{path}/send", {"text": "3"})).status == 200
    assert (await api.post(f"{path}/message/create", {"type": "bot", "text": "4"})).status == 200
    for operation in ("send", "message/create", "complete", "dispatch"):
        reply = await api.post(f"{path}/{operation}", {"type": "user", "text": "5"})
        assert refused(reply, "account-messages", limit=5)
    assert len(await api.texts(conversation)) == 5
    assert (await api.post(f"{path}/receive")).status == 200


async def test_a_conversation_with_more_messages_than_are_left_is_refused_as_a_whole(api: Api) -> None:
    messages = [{"type": "user", "text": "a"}] * 3
    await api.conversation(messages=messages)
    reply = await api.post("/conversation/create", {"messages": messages})
    assert refused(reply, "account-messages", limit=5, left=2)
    assert "2 are left, and this asks for 3" in reply.message
    assert len((await api.get("/conversation/list")).items) == 1


async def test_what_is_refused_for_another_reason_stores_and_counts_no_message(api: Api) -> None:
    conversation = await api.conversation()
    for _ in range(7):
        assert (await api.post("/conversation/nowhere/send", {"text": "a"})).status == 404
        assert (await api.post(f"/conversation/{conversation}/send", {"text": " "})).status == 400
    assert (await api.post(f"/conversation/{conversation}/send", {"text": "a"})).status == 200


async def test_a_repeated_request_is_answered_although_no_message_is_left(api: Api) -> None:
    conversation = await api.conversation(messages=[{"type": "user", "text": "a"}] * 2)
    path = f"/conversation/{conversation}"
    first = await api.post(f"{path}/send", {"text": "b"}, key="k1")
    completed = await api.post(f"{path}/complete", {"text": "c"}, key="k2")
    dispatched = await api.post(f"{path}/dispatch", {"text": "d"}, key="k3")
    for _ in range(2):
        assert (await api.post(f"{path}/send", {"text": "b"}, key="k1")).json == first.json
        assert (await api.post(f"{path}/complete", {"text": "c"}, key="k2")).json == completed.json
        assert (await api.post(f"{path}/dispatch", {"text": "d"}, key="k3")).json == dispatched.json
    assert refused(await api.post(f"{path}/send", {"text": "e"}, key="k4"), "account-messages", limit=5)
    assert (await api.post(f"{path}/send", {"text": "x"}, key="k1")).status == 409


async def test_repeats_count_as_requests_only(api: Api) -> None:
    conversation = await api.conversation()
    for _ in range(8):
        assert (await api.post(f"/conversation/{conversation}/complete", {"text": "a"}, key="k")).status == 200
    for text in "bcd":
        assert (await api.post(f"/conversation/{conversation}/send", {"text": text})).status == 200
    assert (await api.post(f"/conversation/{conversation}/complete", {"text": "e"})).status == 200


@pytest.mark.parametrize("operation", ["receive", "complete", "dispatch"])
async def test_a_turn_that_began_ends_and_the_next_is_refused_when_the_tokens_are_used(
    api: Api, operation: str
) -> None:
    conversation = await api.conversation()
    for _ in range(3):  # ten tokens each, twenty-five are allowed
        assert (await api.post(f"/conversation/{conversation}/receive")).status == 200
    reply = await api.post(f"/conversation/{conversation}/{operation}")
    assert refused(reply, "account-tokens", limit=25)
    stateless = {"messages": [{"type": "user", "text": "a"}]}
    for path in ("/conversation/complete", "/conversation/dispatch"):
        assert refused(await api.post(path, stateless), "account-tokens", limit=25)


async def test_a_refusal_to_begin_is_told_before_a_stream_begins(api: Api) -> None:
    conversation = await api.conversation()
    for _ in range(3):
        await api.post(f"/conversation/{conversation}/receive")
    reply = await api.post(f"/conversation/{conversation}/receive", accept="application/jsonl")
    assert refused(reply, "account-tokens", limit=25)
    assert (await api.get(f"/conversation/{conversation}/turn/fetch")).json["state"] == "done"


async def test_turns_at_once_are_limited_until_one_ends(api: Api) -> None:
    conversations = [await api.conversation(model="slow") for _ in range(3)]
    running = [asyncio.create_task(api.post(f"/conversation/{each}/receive")) for each in conversations[:2]]
    await until(lambda: len(api.models.scripted["slow"].prompts) == 2)
    reply = await api.post(f"/conversation/{conversations[2]}/receive")
    assert refused(reply, "account-turns", limit=2, window=False)
    assert reply.message.endswith("of 2 turns at once. Come back when one of them has ended.")
    api.models.scripted["slow"].go_on.set()
    assert [(await task).status for task in running] == [200, 200]
    assert (await api.post(f"/conversation/{conversations[2]}/receive")).status == 200


async def test_dispatched_turns_wait_for_room_and_are_not_refused(api: Api) -> None:
    conversations = [await api.conversation(model="slow") for _ in range(4)]
    channels = [str((await api.post(f"/conversation/{each}/dispatch")).json["channelId"]) for each in conversations]
    await until(lambda: len(api.models.scripted["slow"].prompts) == 2)
    await asyncio.sleep(0.5)
    assert len(api.models.scripted["slow"].prompts) == 2
    api.models.scripted["slow"].go_on.set()
    assert [(await api.heard(channel))[-1]["type"] for channel in channels] == ["result"] * 4


async def test_turns_of_one_conversation_that_wait_for_each_other_take_no_room(api: Api) -> None:
    conversation, other = await api.conversation(model="slow"), await api.conversation()
    waiting = [asyncio.create_task(api.post(f"/conversation/{conversation}/receive")) for _ in range(2)]
    await until(lambda: api.models.scripted["slow"].prompts)
    assert (await api.post(f"/conversation/{other}/receive")).status == 200
    api.models.scripted["slow"].go_on.set()
    assert [(await task).status for task in waiting] == [200, 200]


@pytest.mark.parametrize("accept", [None, "application/jsonl"])
async def test_who_goes_away_takes_no_room_any_more(api: Api, accept: str | None) -> None:
    conversation = await api.conversation(model="silent")
    for _ in range(3):
        leave = asyncio.Event()
        path = f"/v1/conversation/{conversation}/receive"
        asking = asyncio.create_task(api("POST", path, accept=accept, leave=leave))
        await until(lambda: api.models.scripted["silent"].prompts)
        leave.set()
        await asking
        api.models.scripted["silent"].prompts.clear()


async def test_a_session_token_has_limits_of_its_own_and_others_of_its_account_go_on(api: Api) -> None:
    conversation = await api.conversation()
    token, other = await api.token(conversation), await api.token(conversation, durationInSeconds=60)
    path = f"/conversation/{conversation}"
    sent = [await api.post(f"{path}/send", {"text": "a"}, secret=token) for _ in range(3)]
    assert [reply.status for reply in sent] == [200, 200, 200]
    assert sent[-1].headers["ratelimit"].startswith('"session-requests";r=3;t=')
    refusal = await api.post(f"{path}/send", {"text": "a"}, secret=token)
    assert refused(refusal, "session-messages", limit=3)
    assert refusal.message.startswith("This session token has reached its limit of 3 messages a minute")
    for _ in range(2):
        assert (await api.get(f"{path}/message/list", secret=token)).status == 200
    assert refused(await api.get(f"{path}/message/list", secret=token), "session-requests", limit=6)
    assert (await api.get(f"{path}/message/list", secret=other)).status == 200
    assert (await api.post(f"{path}/send", {"text": "b"})).status == 200


async def test_what_session_tokens_use_counts_for_their_account(api: Api) -> None:
    conversation = await api.conversation()
    tokens = [await api.token(conversation, durationInSeconds=60 + number) for number in range(3)]
    path = f"/conversation/{conversation}"
    for token in (tokens[0], tokens[0], tokens[0], tokens[1], tokens[1]):
        assert (await api.post(f"{path}/send", {"text": "a"}, secret=token)).status == 200
    reply = await api.post(f"{path}/send", {"text": "a"}, secret=tokens[2])
    assert refused(reply, "account-messages", limit=5)


async def test_a_session_token_runs_as_many_turns_as_it_may(api: Api) -> None:
    conversation = await api.conversation(model="echo")
    token = await api.token(conversation)
    path = f"/conversation/{conversation}"
    for _ in range(2):  # ten tokens each, fifteen are allowed
        assert (await api.post(f"{path}/receive", secret=token)).status == 200
    assert refused(await api.post(f"{path}/receive", secret=token), "session-tokens", limit=15)
    assert (await api.post(f"{path}/receive")).status == 200


async def test_accounts_do_not_use_each_others_limits(api: Api) -> None:
    storage = api.application.adapters.storage
    accounts = AccountService(storage, new_id=api.application.adapters.new_id, clock=api.application.adapters.clock)
    secret = (await accounts.create_secret("other")).secret
    for _ in range(20):
        assert (await api.get("/conversation/list")).status == 200
    assert (await api.get("/conversation/list")).status == 429
    assert (await api.get("/conversation/list", secret=secret)).status == 200


class TestWithoutLimits:
    """0 is without limit."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(
            max_account_requests=0,
            max_account_messages=0,
            max_account_tokens=0,
            max_account_turns=0,
            max_session_requests=0,
            max_session_messages=0,
            max_session_tokens=0,
            max_session_turns=0,
        )

    async def test_nothing_is_refused_and_nothing_told(self, api: Api) -> None:
        conversation = await api.conversation(messages=[{"type": "user", "text": "a"}] * 7)
        for _ in range(25):
            reply = await api.post(f"/conversation/{conversation}/receive")
            assert reply.status == 200
            assert "ratelimit" not in reply.headers


@pytest.fixture
async def apis(database: str) -> AsyncGenerator[list[Api], None]:
    """Two applications on one database."""
    chosen = replace(LIMITS, database_url=database, max_account_requests=200, secret=SECRET)
    async with AsyncExitStack() as stack:
        opened: list[Api] = []
        for _ in range(2):
            models = ScriptedModels()
            adapters = Adapters(storage=storage_at(database), models=models, guest_secret=SECRET)
            application = create_app(chosen, adapters)
            await application.open()
            stack.push_async_callback(application.close)
            opened.append(Api(application, SECRET, models))
        yield opened


async def test_processes_on_one_database_share_the_limit_of_requests(apis: list[Api]) -> None:
    await until(lambda: all(rates_of(api)._processes == 2 for api in apis))
    replies = [await apis[number % 2].get("/conversation/list") for number in range(260)]
    let_through = sum(reply.status == 200 for reply in replies)
    assert 200 <= let_through <= 200 + 200 // 8
    assert refused(replies[-1], "account-requests", limit=200)
    assert refused(replies[-2], "account-requests", limit=200)


async def test_a_turn_that_runs_elsewhere_takes_room_here(apis: list[Api]) -> None:
    one, two = apis
    conversations = [await one.conversation(model="slow"), await one.conversation(model="slow")]
    third = await one.conversation()
    running = [
        asyncio.create_task(api.post(f"/conversation/{conversation}/receive"))
        for api, conversation in zip(apis, conversations, strict=True)
    ]
    await until(lambda: one.models.scripted["slow"].prompts and two.models.scripted["slow"].prompts)
    await until(lambda: told(*apis))
    await asyncio.sleep(1.2)  # until what they know of each other is old, and asked for again
    for api in apis:
        assert refused(await api.post(f"/conversation/{third}/receive"), "account-turns", limit=2, window=False)
    work = await one.post(f"/conversation/{third}/dispatch")
    await asyncio.sleep(0.5)
    assert not one.models.scripted["echo"].prompts
    two.models.scripted["slow"].go_on.set()
    assert (await running[1]).status == 200
    assert (await one.heard(str(work.json["channelId"])))[-1]["type"] == "result"
    one.models.scripted["slow"].go_on.set()
    assert (await running[0]).status == 200


async def test_tokens_that_were_used_elsewhere_are_used_here_too(apis: list[Api]) -> None:
    one, two = apis
    conversation = await one.conversation()
    await until(lambda: all(rates_of(api)._processes == 2 for api in apis))
    for _ in range(3):
        assert (await one.post(f"/conversation/{conversation}/receive")).status == 200
    await until(lambda: told(one))
    assert refused(await two.post(f"/conversation/{conversation}/receive"), "account-tokens", limit=25)


async def test_what_was_used_is_known_soon_after_a_restart(database: str) -> None:
    chosen = replace(LIMITS, database_url=database)
    for used, left in ((15, 4), (3, 0)):
        adapters = Adapters(storage=storage_at(database), models=ScriptedModels(), guest_secret=SECRET)
        application = create_app(chosen, adapters)
        await application.open()
        api = Api(application, SECRET, ScriptedModels())
        for _ in range(used):
            assert (await api.get("/conversation/list")).status == 200
        await until(partial(told, api))
        reply = await api.get("/conversation/list")
        assert reply.headers["ratelimit"].startswith(f'"account-requests";r={left};t=')
        await application.close()
