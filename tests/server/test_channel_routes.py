from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.server.asgi import Api, Reply, ScriptedModels
from tests.stalls import Stalls

from turnwise.server.app import Adapters, create_app
from turnwise.server.channels.local import LocalChannels
from turnwise.server.channels.ring import Bounds
from turnwise.server.ids import new_id, now
from turnwise.server.openapi import document
from turnwise.server.services.account import AccountService
from turnwise.server.settings import Settings
from turnwise.server.storage.journal import NewTurn
from turnwise.server.storage.open import storage_at

CHANNEL = "/channel/channel-of-16-chars"


@dataclass
class Listener:
    """A client that subscribed."""

    reply: Reply = field(default_factory=Reply)
    leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not ready():  # noqa: ASYNC110 - what a client has read is no event
                await asyncio.sleep(0.001)

    async def events(self, count: int) -> list[dict[str, object]]:
        """Wait for so many events besides pings; return them."""
        await self.until(lambda: len(self.told) >= count or self.reply.complete)
        return self.told

    @property
    def told(self) -> list[dict[str, object]]:
        return [event for event in self.reply.events if event["type"] != "ping"]

    async def texts(self, count: int) -> list[object]:
        """Wait for so many messages; return their data."""
        return [event["data"] for event in (await self.events(count + 1))[1:]]


@asynccontextmanager
async def listening(
    api: Api, body: object = None, *, path: str = CHANNEL, accept: str | None = None, secret: str | None = None
) -> AsyncGenerator[Listener]:
    listener = Listener()
    asking = asyncio.create_task(
        api(
            "POST",
            f"/api/v1{path}/subscribe",
            body or {},
            accept=accept,
            secret=secret,
            leave=listener.leave,
            reply=listener.reply,
        )
    )
    await listener.until(lambda: bool(listener.reply.chunks))
    yield listener
    listener.leave.set()
    with Stalls() as stalls:
        async with stalls.within(1):
            await asking


async def publish(api: Api, *numbers: int, path: str = CHANNEL) -> None:
    for number in numbers:
        reply = await api.post(f"{path}/publish", {"message": {"n": number}})
        assert reply.status == 200, reply.text


def numbered(*numbers: int) -> list[dict[str, int]]:
    return [{"n": number} for number in numbers]


async def test_publish_answers_the_channels_id(api: Api) -> None:
    reply = await api.post(f"{CHANNEL}/publish", {"message": {"text": "hi"}})
    assert (reply.status, reply.json) == (200, {"id": "channel-of-16-chars"})


async def test_a_subscriber_is_told_first_that_the_server_listens(api: Api) -> None:
    async with listening(api) as listener:
        (event,) = listener.reply.events
    assert event["type"] == "nop"
    assert isinstance(event["createdAt"], int)


async def test_a_message_is_told_with_its_number_and_moment(api: Api) -> None:
    async with listening(api) as listener:
        before = now()
        await publish(api, 1, 2)
        _, first, second = await listener.events(3)
    assert first == {"type": "message", "data": {"n": 1}, "seq": first["seq"], "createdAt": first["createdAt"]}
    assert isinstance(first["seq"], int)
    assert second["seq"] == first["seq"] + 1
    assert isinstance(first["createdAt"], int)
    assert before <= first["createdAt"] <= now()


async def test_history_comes_first_the_oldest_before_the_newer(api: Api) -> None:
    await publish(api, 1, 2, 3)
    async with listening(api, {"historyLength": 2}) as listener:
        await publish(api, 4)
        assert await listener.texts(3) == numbered(2, 3, 4)


async def test_after_goes_on_from_a_number(api: Api) -> None:
    await publish(api, 1, 2, 3)
    async with listening(api, {"historyLength": 3}) as listener:
        seqs = [event["seq"] for event in (await listener.events(4))[1:]]
    async with listening(api, {"after": seqs[0]}) as listener:
        await publish(api, 4)
        assert await listener.texts(3) == numbered(2, 3, 4)


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/jsonl", "application/*"])
async def test_what_is_accepted_is_answered_with_json_lines(api: Api, accept: str | None) -> None:
    async with listening(api, accept=accept) as listener:
        assert listener.reply.headers["content-type"] == "application/jsonl"
        await publish(api, 1)
        assert await listener.texts(1) == numbered(1)


async def test_server_sent_events_name_their_type(api: Api) -> None:
    async with listening(api, accept="text/event-stream") as listener:
        await publish(api, 1)
        await listener.until(lambda: b"message" in listener.reply.body)
        first, second = listener.reply.text.removesuffix("\n\n").split("\n\n")
    assert first.startswith('event: nop\ndata: {"type":"nop"')
    assert second.startswith('event: message\ndata: {"type":"message","data":{"n":1},"seq":')


async def test_no_other_form_is_offered(api: Api) -> None:
    reply = await api.post(f"{CHANNEL}/subscribe", {}, accept="text/csv")
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")


async def test_streamed_json_is_ascii_without_blank_lines(api: Api) -> None:
    await api.post(f"{CHANNEL}/publish", '{"message": {"text": "😀\\n\u2028"}}'.encode())
    async with listening(api, {"historyLength": 1}) as listener:
        assert await listener.texts(1) == [{"text": "😀\n\u2028"}]
    assert listener.reply.body.isascii()
    assert b"\n\n" not in listener.reply.body


@pytest.mark.parametrize("path", ["publish", "subscribe"])
@pytest.mark.parametrize("length, status", [(1, 400), (15, 400), (16, 200), (255, 200), (256, 400)])
async def test_a_channels_id_has_16_to_255_characters(api: Api, path: str, length: int, status: int) -> None:
    leave = asyncio.Event()
    leave.set()
    name = "c" * length
    reply = await api("POST", f"/api/v1/channel/{name}/{path}", {"message": {}}, leave=leave)
    assert reply.status == status
    if status == 400:
        assert reply.message.startswith(f"channelId: expected 16 to 255 characters, these are {length}.")


@pytest.mark.parametrize(
    "path, body, named",
    [
        ("publish", {}, "$.message"),
        ("publish", {"message": "text"}, "$.message"),
        ("publish", {"message": None}, "$.message"),
        ("subscribe", {"historyLength": -1}, "$.historyLength"),
        ("subscribe", {"historyLength": 10_001}, "$.historyLength"),
        ("subscribe", {"historyLength": "all"}, "$.historyLength"),
        ("subscribe", {"after": -5}, "$.after"),
        ("subscribe", {"after": "1"}, "$.after"),
    ],
)
async def test_a_field_that_does_not_fit_is_named(api: Api, path: str, body: object, named: str) -> None:
    reply = await api.post(f"{CHANNEL}/{path}", body)
    assert (reply.status, reply.code) == (400, "BAD_REQUEST")
    assert reply.message.startswith(named)


async def test_null_is_as_good_as_nothing(api: Api) -> None:
    await publish(api, 1)
    async with listening(api, {"historyLength": None, "after": None}) as listener:
        await publish(api, 2)
        assert await listener.texts(1) == numbered(2)


async def test_a_message_of_more_than_a_megabyte_is_413(api: Api) -> None:
    fits = await api.post(f"{CHANNEL}/publish", {"message": {"text": "x" * 999_989}})
    reply = await api.post(f"{CHANNEL}/publish", {"message": {"text": "x" * 999_990}})
    assert fits.status == 200
    assert (reply.status, reply.code) == (413, "CONTENT_TOO_LARGE")
    assert reply.message.startswith("$.message: 1,000,001 bytes")


async def test_two_accounts_never_meet(api: Api) -> None:
    accounts = AccountService(api.application.adapters.storage, new_id=new_id, clock=now)
    stranger = (await accounts.create_secret("stranger")).secret
    await publish(api, 1)
    async with listening(api, {"historyLength": 10}, secret=stranger) as listener:
        await publish(api, 2)
        await api.post(f"{CHANNEL}/publish", {"message": {"n": 3}}, secret=stranger)
        assert await listener.texts(1) == numbered(3)


async def test_a_repeated_publish_is_told_once(api: Api) -> None:
    async with listening(api) as listener:
        body = {"message": {"n": 1}}
        replies = [await api.post(f"{CHANNEL}/publish", body, key="k") for _ in range(3)]
        other = await api.post(f"{CHANNEL}/publish", {"message": {"n": 2}}, key="k")
        await publish(api, 3)
        assert await listener.texts(2) == numbered(1, 3)
    assert {reply.body for reply in replies} == {b'{"id":"channel-of-16-chars"}'}
    assert (other.status, other.code) == (409, "CONFLICT")


async def test_a_client_that_leaves_is_forgotten(api: Api) -> None:
    channels = api.application.channels
    assert isinstance(channels, LocalChannels)
    async with listening(api), listening(api):
        assert channels.known == 1
    assert channels.known == 0


async def test_a_server_that_stops_ends_its_streams(api: Api) -> None:
    async with listening(api) as listener:
        await publish(api, 1)
        await api.application.drain(0)
        assert await listener.texts(1) == numbered(1)
        await listener.until(lambda: listener.reply.complete)
        assert listener.told[-1]["type"] == "message"
    assert (await api.post(f"{CHANNEL}/subscribe", {})).status == 503


class TestPings:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(ping_interval=0.02, grace=1)

    async def test_a_quiet_line_is_kept_alive(self, api: Api) -> None:
        async with listening(api) as listener:
            await listener.until(lambda: listener.reply.types.count("ping") >= 3)
            await publish(api, 1)
            assert await listener.texts(1) == numbered(1)


async def test_who_reads_too_slowly_is_told_to_come_back(settings: Settings, tmp_path: Path) -> None:
    storage = storage_at(f"sqlite:///{tmp_path / 'api.db'}")
    models = ScriptedModels()
    channels = LocalChannels(storage, bounds=Bounds(messages=5))
    adapters = Adapters(storage=storage, models=models, channels=channels, guest_secret="secret-of-the-tests")
    application = create_app(settings, adapters)
    await application.open()
    api = Api(application, "secret-of-the-tests", models)
    async with listening(api) as listener:
        await publish(api, 1)
        await listener.events(2)
        listener.reply.reading.clear()
        await publish(api, *range(2, 20))
        listener.reply.reading.set()
        await listener.until(lambda: listener.reply.complete)
        last = listener.told[-1]
    assert last["type"] == "error"
    assert listener.reply.data(-1)["code"] == "TOO_MANY_REQUESTS"
    assert "`after`" in str(listener.reply.data(-1)["message"])
    seen = listener.told[-2]["seq"]
    async with listening(api, {"after": seen}) as again:
        await publish(api, 20)
        told = [*listener.told[1:-1], *(await again.events(22 - len(listener.told) + 1))[1:]]
    assert [event["data"] for event in told] == numbered(*range(1, 21))
    await application.close()


class TestSessions:
    @pytest.fixture
    async def ask(self, api: Api) -> Callable[[str, object], Awaitable[Reply]]:
        conversation = await api.conversation()
        token = await api.token(conversation)
        self.conversation = conversation
        (account,) = await api.application.adapters.storage.accounts()
        self.account = account.id

        async def ask(path: str, body: object) -> Reply:
            leave = asyncio.Event()
            leave.set()
            return await api("POST", f"/api/v1{path}", body, secret=token, leave=leave)

        return ask

    async def test_a_token_publishes_only_where_its_conversation_waits(
        self, api: Api, ask: Callable[[str, object], Awaitable[Reply]]
    ) -> None:
        body = {"message": {"data": 1}}
        channel = "channel-of-16-chars"
        reply = await ask(f"{CHANNEL}/publish", body)
        assert (reply.status, reply.code) == (403, "NOT_AUTHORIZED")
        assert "waits" in reply.message
        waiting = api.application.waiting
        with waiting.wait(self.account, "another", channel), waiting.wait("another", self.conversation, channel):
            assert (await ask(f"{CHANNEL}/publish", body)).status == 403
        with waiting.wait(self.account, self.conversation, channel):
            with waiting.wait(self.account, self.conversation, channel):
                assert (await ask(f"{CHANNEL}/publish", body)).status == 200
            assert (await ask(f"{CHANNEL}/publish", body)).status == 200
            assert (await ask("/channel/another-channel-of-mine/publish", body)).status == 403
            assert (await ask(f"{CHANNEL}/subscribe", {})).status == 403
        assert (await ask(f"{CHANNEL}/publish", body)).status == 403

    async def test_a_token_subscribes_only_to_its_conversations_dispatches(
        self, api: Api, ask: Callable[[str, object], Awaitable[Reply]]
    ) -> None:
        storage = api.application.adapters.storage
        await storage.register_process("process", lease_ms=60_000)
        for conversation, channel in (
            (self.conversation, "channel-of-16-chars"),
            (await api.conversation(), "another-channel-of-mine"),
            (None, "stateless-dispatch-channel"),
        ):
            turn = NewTurn(
                id=new_id(),
                process_id="process",
                account_id=self.account,
                conversation_id=conversation,
                channel_id=channel,
                kind="dispatch",
                request=b"{}",
                now=now(),
            )
            assert await storage.queue_turn(turn) is None
        assert (await ask(f"{CHANNEL}/subscribe", {})).status == 200
        for channel in ("another-channel-of-mine", "stateless-dispatch-channel", "nobodys-channel-at-all"):
            reply = await ask(f"/channel/{channel}/subscribe", {})
            assert (reply.status, reply.code) == (403, "NOT_AUTHORIZED")
        assert (await ask(f"{CHANNEL}/publish", {"message": {}})).status == 403


async def test_the_description_has_the_types_of_what_is_streamed() -> None:
    paths = msgspec.convert(document()["paths"], dict[str, dict[str, dict[str, Any]]])
    subscribe = paths["/channel/{channelId}/subscribe"]["post"]
    assert set(subscribe["responses"]["200"]["content"]) == {"application/jsonl", "text/event-stream"}
    published = paths["/channel/{channelId}/publish"]["post"]
    assert published["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("ChannelPublishRequest")
