"""What type checkers know of the blocking client. Checked by mypy and pyright, never run."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_type

from turnwise import (
    AnyEvent,
    ChannelClient,
    ChannelEvent,
    ChannelMessageEvent,
    ChannelPublishResult,
    CompleteEvent,
    CompleteResult,
    Conversation,
    ConversationClient,
    ConversationCreateResult,
    ConversationId,
    ConversationItemEvent,
    ConversationUsage,
    DispatchResult,
    Entity,
    Message,
    MessageCreateResult,
    MessageId,
    MessageInput,
    MessageItemEvent,
    Model,
    Page,
    RawResponse,
    ReceiveEvent,
    ReceiveResult,
    ResumableStream,
    SendEvent,
    SendResult,
    Session,
    StatelessCompleteEvent,
    StatelessCompleteResult,
    Stream,
    Timeout,
    TokenEvent,
    Turn,
    TurnId,
    Turnwise,
)
from turnwise.tools import RunEvent, StatelessRunEvent, ToolCallFinished, tool


def results(client: ConversationClient, json: Mapping[str, object]) -> None:
    assert_type(client.create(), ConversationCreateResult)
    assert_type(client.create(model=Model("m", temperature=0), name=None), ConversationCreateResult)
    assert_type(client.create(json), ConversationCreateResult)
    assert_type(client.create({"model": "m"}, timeout=Timeout(total=3)), ConversationCreateResult)
    assert_type(client.fetch("c", retries=0), Conversation)
    assert_type(client.update("c", meta={"a": 1}), ConversationId)
    assert_type(client.delete("c"), ConversationId)
    assert_type(client.complete("c"), CompleteResult)
    assert_type(client.complete("c", text="hi", entities=[{"type": "name"}]), CompleteResult)
    assert_type(client.complete("c", {"text": "hi"}), CompleteResult)
    assert_type(client.complete(None, messages=[MessageInput(type="user", text="hi")]), StatelessCompleteResult)
    assert_type(client.complete(None, {"messages": []}, timeout=None), StatelessCompleteResult)
    assert_type(client.send("c", text="hi", extra_body={"x": 1}), SendResult)
    assert_type(client.send("c", {"text": "hi"}, extra_headers={"x": "1"}), SendResult)
    assert_type(client.receive("c", limits={"calls": 1}), ReceiveResult)
    assert_type(client.upvote("c", value=3), ConversationId)
    assert_type(client.downvote("c", {"reason": "wrong"}), ConversationId)
    assert_type(client.usage("c", from_=datetime.now(UTC), to="2026-11-01"), ConversationUsage)
    assert_type(client.message.fetch("c", "m"), Message)
    assert_type(client.message.create("c", type="user", text="hi"), MessageCreateResult)
    assert_type(client.message.update("c", "m", {"text": "hi"}), MessageId)
    assert_type(client.session.create("c", duration_in_seconds=60), Session)
    assert_type(client.send("c", text="hi").entities, list[Entity])


def pages(client: ConversationClient) -> None:
    assert_type(client.list(), Page[Conversation])
    assert_type(client.list("cursor", take=3, bot_id=["a", "b"]), Page[Conversation])
    assert_type(client.list(cursor=None), Page[Conversation])
    assert_type(client.list({"take": 3}), Page[Conversation])
    assert_type(client.export(meta={"plan": "pro"}), Page[Conversation])
    assert_type(client.message.list("c", order="desc"), Page[Message])
    assert_type(client.message.list("c", {"order": "desc"}), Page[Message])
    for item in client.list():
        assert_type(item, Conversation)


def streams(client: ConversationClient) -> None:
    with client.complete_stream("c", text="hi") as stream:
        for event in stream:
            assert_type(event, CompleteEvent)
            match event:
                case TokenEvent():
                    assert_type(event.data.token, str)
                case _:
                    pass
    assert_type(stream.result, CompleteResult)
    assert_type(stream.until_done(), CompleteResult)
    assert_type(client.complete_stream(None, {"messages": []}), Stream[StatelessCompleteEvent, StatelessCompleteResult])
    assert_type(client.send_stream("c", text="hi"), Stream[SendEvent, SendResult])
    assert_type(client.receive_stream("c"), Stream[ReceiveEvent, ReceiveResult])
    assert_type(client.list_stream(take=3), Stream[ConversationItemEvent, None])
    assert_type(client.export_stream({"take": 3}), Stream[ConversationItemEvent, None])
    assert_type(client.message.list_stream("c"), Stream[MessageItemEvent, None])


@tool(timeout=3)
def add(one: int, two: int = 2) -> int:
    """Add."""
    return one + two


async def double(value: int) -> float:
    """Double."""
    return 2 * value


def tools(client: ConversationClient) -> None:
    assert_type(add(1, two=3), int)
    assert_type(tool(str.upper, name="upper", description="Shout.")("a"), str)
    assert_type(client.run("c", text="hi", tools=[add, double]), CompleteResult)
    assert_type(client.run(None, messages=[], tools=[add], tool_timeout=None), StatelessCompleteResult)
    assert_type(client.run_stream("c", tools=[add]), Stream[RunEvent, CompleteResult])
    assert_type(client.run("c", tools=[add], resumable=True), CompleteResult)
    assert_type(client.run_stream("c", tools=[add], resumable=True), Stream[RunEvent, CompleteResult])
    assert_type(client.run_stream(None, messages=[], tools=[]), Stream[StatelessRunEvent, StatelessCompleteResult])
    for event in client.run_stream("c", tools=[add]):
        if isinstance(event, ToolCallFinished):
            assert_type(event.result, object)
            break
        assert_type(event.type, str)


def in_the_background(client: ConversationClient) -> None:
    assert_type(client.dispatch("c", text="hi"), DispatchResult)
    assert_type(client.dispatch(None, {"messages": []}), DispatchResult)
    with client.dispatch_stream("c", text="hi", channel_id="a-channel-of-24-characters") as stream:
        assert_type(stream, ResumableStream[CompleteEvent, CompleteResult])
        for event in stream:
            assert_type(event, CompleteEvent)
    assert_type(stream.seq, int | None)
    assert_type(
        client.dispatch_stream(None, messages=[]), ResumableStream[StatelessCompleteEvent, StatelessCompleteResult]
    )
    assert_type(client.complete("c", text="hi", resumable=True), CompleteResult)
    assert_type(client.complete_stream("c", resumable=True), Stream[CompleteEvent, CompleteResult])
    assert_type(client.turn("c"), Turn)
    assert_type(client.cancel("c"), TurnId)
    assert_type(client.cancel(None, channel_id="x"), TurnId)


def channels(client: ChannelClient) -> None:
    assert_type(client.publish("x", message={"data": 1}), ChannelPublishResult)
    assert_type(client.subscribe("x", history_length=3, after=1), Stream[ChannelEvent, None])
    for event in client.subscribe("x"):
        if isinstance(event, ChannelMessageEvent):
            assert_type(event.data, object)


def by_hand(client: ConversationClient) -> None:
    assert_type(client.client_fetch("/x", query={"a": 1}), object)
    assert_type(client.client_fetch("/x", record={}, result=Conversation), Conversation | RawResponse)
    assert_type(client.client_fetch_stream("/x"), Stream[AnyEvent, None])


def clients() -> None:
    with Turnwise(secret="s", timeout=3) as client:
        assert_type(client, Turnwise)
        assert_type(client.conversation, ConversationClient)
        assert_type(client.channel, ChannelClient)
        assert_type(client.with_options(retries=0), Turnwise)
        assert_type(client.conversation.extend(timezone="UTC"), ConversationClient)


def refused(client: ConversationClient) -> None:
    client.send("c", txt="hi")  # type: ignore[call-overload]
    client.send("c")  # type: ignore[call-overload]
    client.send(text="hi")  # type: ignore[call-overload]
    client.send("c", text=3)  # type: ignore[call-overload]
    client.send("c", {"text": "hi"}, entities=[])  # type: ignore[call-overload]
    client.complete("c", messages=[])  # type: ignore[call-overload]
    client.complete(None, text="hi")  # type: ignore[call-overload]
    client.create(modle="m")  # type: ignore[call-overload]
    client.list(tak=3)  # type: ignore[call-overload]
    client.message.update("c", text="hi")  # type: ignore[call-overload]
    client.message.create("c", type="usr", text="hi")  # type: ignore[call-overload]
    client.complete_stream("c", txt="hi")  # type: ignore[call-overload]
    client.client_fetch("/x", qeury={})  # type: ignore[call-overload]
    client.run("c", text="hi")  # type: ignore[call-overload]
    client.run("c", text="hi", tools=[3])  # type: ignore[list-item]
    client.dispatch_stream("c", resumable=True)  # type: ignore[call-overload]
    client.cancel("c", channel_id="x")  # type: ignore[call-overload]
    client.cancel(None)  # type: ignore[call-overload]
    add("one")  # type: ignore[arg-type]
    Turnwise(secrt="s")  # type: ignore[call-arg]
    Model("m", temprature=0)  # type: ignore[call-arg]
