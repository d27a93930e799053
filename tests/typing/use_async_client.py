"""What type checkers know of the async client. Checked by mypy and pyright, never run."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from typing import assert_type

from turnwise import (
    AnyEvent,
    AsyncChannelClient,
    AsyncConversationClient,
    AsyncPage,
    AsyncResumableStream,
    AsyncStream,
    AsyncTurnwise,
    ChannelEvent,
    ChannelPublishResult,
    CompleteEvent,
    CompleteResult,
    Conversation,
    ConversationItemEvent,
    DispatchResult,
    Message,
    MessageCreateResult,
    MessageId,
    MessageItemEvent,
    RawResponse,
    ReceiveEvent,
    ReceiveResult,
    SendEvent,
    SendResult,
    Session,
    StatelessCompleteEvent,
    StatelessCompleteResult,
    Turn,
    TurnId,
)
from turnwise.tools import RunEvent


async def results(client: AsyncConversationClient) -> None:
    assert_type(await client.fetch("c"), Conversation)
    assert_type(await client.complete("c", text="hi"), CompleteResult)
    assert_type(await client.complete("c", {"text": "hi"}), CompleteResult)
    assert_type(await client.complete(None, messages=[]), StatelessCompleteResult)
    assert_type(await client.send("c", text="hi"), SendResult)
    assert_type(await asyncio.create_task(client.send("c", text="hi")), SendResult)
    assert_type(await asyncio.wait_for(client.receive("c"), 3), ReceiveResult)
    one, two = await asyncio.gather(client.fetch("c"), client.send("c", text="hi"))
    assert_type(one, Conversation)
    assert_type(two, SendResult)
    assert_type(await client.message.create("c", type="user", text="hi"), MessageCreateResult)
    assert_type(await client.message.delete("c", "m"), MessageId)
    assert_type(await client.session.create("c"), Session)


async def pages(client: AsyncConversationClient) -> None:
    assert_type(client.list(take=3), AsyncPage[Conversation])
    assert_type(await client.export(), AsyncPage[Conversation])
    async for item in client.message.list("c"):
        assert_type(item, Message)


async def streams(client: AsyncConversationClient) -> None:
    async with client.complete_stream("c", text="hi") as stream:
        async for event in stream:
            assert_type(event, CompleteEvent)
    assert_type(stream.result, CompleteResult)
    assert_type(await stream.until_done(), CompleteResult)
    assert_type(client.complete_stream(None, messages=[]), AsyncStream[StatelessCompleteEvent, StatelessCompleteResult])
    assert_type(client.send_stream("c", text="hi"), AsyncStream[SendEvent, SendResult])
    assert_type(client.receive_stream("c"), AsyncStream[ReceiveEvent, ReceiveResult])
    assert_type(client.list_stream(), AsyncStream[ConversationItemEvent, None])
    assert_type(client.export_stream(), AsyncStream[ConversationItemEvent, None])
    assert_type(client.message.list_stream("c"), AsyncStream[MessageItemEvent, None])


async def add(one: int) -> int:
    """Add."""
    return one


async def in_the_background(client: AsyncConversationClient) -> None:
    assert_type(await client.run("c", text="hi", tools=[add]), CompleteResult)
    assert_type(client.run_stream("c", tools=[add]), AsyncStream[RunEvent, CompleteResult])
    assert_type(await client.run(None, messages=[], tools=[add], resumable=True), StatelessCompleteResult)
    assert_type(client.run_stream("c", tools=[add], resumable=True), AsyncStream[RunEvent, CompleteResult])
    assert_type(await client.dispatch("c", text="hi"), DispatchResult)
    async with client.dispatch_stream("c", text="hi") as stream:
        assert_type(stream, AsyncResumableStream[CompleteEvent, CompleteResult])
    assert_type(await client.complete(None, messages=[], resumable=True), StatelessCompleteResult)
    assert_type(await client.turn("c"), Turn)
    assert_type(await client.cancel(None, channel_id="x"), TurnId)


async def channels(client: AsyncChannelClient) -> None:
    assert_type(await client.publish("x", message={"data": 1}), ChannelPublishResult)
    async with client.subscribe("x") as stream:
        async for event in stream:
            assert_type(event, ChannelEvent)


async def by_hand(client: AsyncConversationClient) -> None:
    assert_type(await client.client_fetch("/x"), object)
    assert_type(await client.client_fetch("/x", result=Conversation), Conversation | RawResponse)
    assert_type(client.client_fetch_stream("/x"), AsyncStream[AnyEvent, None])


async def clients() -> None:
    async with AsyncTurnwise(secret="s") as client:
        assert_type(client, AsyncTurnwise)
        assert_type(client.conversation, AsyncConversationClient)
        assert_type(client.with_options(retries=0).conversation, AsyncConversationClient)


async def refused(client: AsyncConversationClient) -> None:
    await client.send("c", txt="hi")  # type: ignore[call-overload]
    await client.complete("c", messages=[])  # type: ignore[call-overload]
    await client.complete(None, text="hi")  # type: ignore[call-overload]
    client.list(tak=3)  # type: ignore[call-overload]
    AsyncTurnwise(secrt="s")  # type: ignore[call-arg]
