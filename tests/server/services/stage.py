"""What tests of turns are made of: processes that share a database, and a model that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tests.server.storage.scene import SqliteAdapter

from turnwise.server.channels.local import LocalChannels
from turnwise.server.ids import new_id, now
from turnwise.server.models.base import Delta, Finish, FunctionCall, ModelConfig, Prompt, ResolvedModel, TextDelta
from turnwise.server.services.channel_access import WaitingChannels, dispatches_of
from turnwise.server.services.idempotency import KeyedRequest
from turnwise.server.services.turn import Turn
from turnwise.server.services.turns import TurnService, TurnSettings
from turnwise.server.storage.base import Account, MessageQuery
from turnwise.server.storage.journal import TurnRow
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types.conversation import (
    Conversation,
    ConversationCompleteRequest,
    ConversationDispatchRequest,
    ConversationDispatchStatelessRequest,
)

__all__ = ["ACCOUNT", "CHANNEL", "GatedModel", "Process", "Stage", "call", "finish", "keyed", "until"]

ACCOUNT = "account-me"
CHANNEL = "a-channel-of-24-or-more-0"
FUNCTION_CHANNEL = "function-channel-of-16-or-more"

Plan = Sequence[Sequence[Delta] | None]
"""Batches; `None` waits until the model may go on."""


def finish(reason: str = "stop") -> Finish:
    return Finish(reason="calls" if reason == "calls" else "stop", input_tokens=5, output_tokens=2)


def call(number: int = 1, city: str = "Rome") -> FunctionCall:
    return FunctionCall(f"c{number}", "weather", f'{{"city": "{city}"}}')


class GatedModel:
    """Answers each prompt with the next plan, the last one for ever."""

    name = "gated"
    context_window = 8000

    def __init__(self) -> None:
        self.plans: list[Plan] = [[[TextDelta("One "), TextDelta("two")], [finish()]]]
        self.prompts: list[Prompt] = []
        self.go_on = asyncio.Event()

    async def stream(self, prompt: Prompt, /) -> AsyncGenerator[Sequence[Delta], None]:
        self.prompts.append(prompt)
        plan = self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
        for batch in plan:
            if batch is None:
                await self.go_on.wait()
            else:
                yield batch


@dataclass
class OneModel:
    model: GatedModel

    async def resolve(self, model: str | None, /) -> ResolvedModel:
        return ResolvedModel(self.model, ModelConfig())

    async def aclose(self) -> None:
        """Nothing is open."""


async def until(true: Callable[[], object]) -> None:
    """Wait until it is, for a minute at most."""
    async with asyncio.timeout(60):
        while True:
            if true():
                return
            await asyncio.sleep(0.005)


def keyed(key: str = "key", body: bytes = b"body") -> KeyedRequest:
    return KeyedRequest(path="/path", key=key, body=body, now=now())


@dataclass
class Process:
    """A server process: its turns, with a connection of its own to the database."""

    storage: SqliteStorage
    channels: LocalChannels
    turns: TurnService
    model: GatedModel

    async def conversation(self) -> str:
        moment = now()
        conversation = Conversation(id=new_id(), created_at=moment, updated_at=moment)
        await self.storage.create_conversation(ACCOUNT, conversation, [])
        return conversation.id

    async def dispatch(self, conversation: str | None, text: str = "hi", channel: str = CHANNEL, **more: object) -> str:
        """Dispatch a turn; return its channel."""
        request: ConversationDispatchRequest | ConversationDispatchStatelessRequest
        if conversation is None:
            said = [{"type": "user", "text": text}]
            request = msgspec.convert(
                {"messages": said, "channelId": channel, **more}, ConversationDispatchStatelessRequest
            )
        else:
            request = msgspec.convert({"text": text, "channelId": channel, **more}, ConversationDispatchRequest)
        return (await self.turns.dispatch(ACCOUNT, conversation, request)).channel_id

    def complete(self, conversation: str, text: str = "hi", key: KeyedRequest | None = None) -> Turn:
        turn = self.turns.complete(ACCOUNT, conversation, ConversationCompleteRequest(text=text), keyed=key)
        turn.attach()
        return turn

    async def row(self, conversation: str | None = None, channel: str = CHANNEL) -> TurnRow:
        """Return the turn of a conversation, or of a channel."""
        if conversation is not None:
            row = await self.storage.find_turn(ACCOUNT, conversation_id=conversation)
        else:
            row = await self.storage.find_turn(ACCOUNT, channel_id=channel)
        assert row is not None
        return row

    async def texts(self, conversation: str) -> list[str]:
        return [each.text for each in await self.storage.list_messages(ACCOUNT, conversation, MessageQuery())]

    async def heard(
        self, channel: str = CHANNEL, *, last: Sequence[str] = ("result", "error")
    ) -> list[Mapping[str, object]]:
        """Return the events of a dispatch, up to the first of those named."""
        events: list[Mapping[str, object]] = []
        async with asyncio.timeout(60), self.channels.subscribe(ACCOUNT, channel, history=1000) as batches:
            async for batch in batches:
                for message in batch:
                    events.append(msgspec.json.decode(message.data, type=dict[str, object]))
                    if events[-1]["type"] in last:
                        return events
        raise AssertionError("the channel ended")

    async def answer(self, data: object, channel: str = FUNCTION_CHANNEL) -> None:
        await self.channels.publish(ACCOUNT, channel, msgspec.json.encode({"data": data}))

    async def die(self) -> None:
        """Stop without a word, as `kill -9` does, as far as the database can tell."""
        lease = self.turns._lease._task
        assert lease is not None
        lease.cancel()
        self.turns._running.lose_all()
        await self.turns._running.wait(1)
        await self.turns._flusher.close()

    async def close(self) -> None:
        await self.turns.shutdown(0)
        await self.channels.close()
        await self.storage.close()


@dataclass
class Stage:
    """A database, and the processes that were started on it."""

    adapter: SqliteAdapter
    processes: list[Process] = field(default_factory=list[Process])

    async def process(self, settings: TurnSettings | None = None) -> Process:
        """Start a process."""
        storage = SqliteStorage(self.adapter.path)
        await storage.open()
        await storage.ensure_account(Account(ACCOUNT, "me"), now=now())
        channels, model = LocalChannels(storage), GatedModel()
        turns = TurnService(
            storage,
            channels,
            OneModel(model),
            waiting=WaitingChannels(dispatches_of(storage)),
            new_id=new_id,
            clock=now,
            settings=settings or TurnSettings(wait=2),
        )
        process = Process(storage, channels, turns, model)
        self.processes.append(process)
        await channels.open()
        await turns.open()
        return process

    def lapse(self, process: Process) -> None:
        """Let the lease of a process lapse."""
        self.adapter.lapse(process.turns._lease.process_id)

    async def stored(self, turns: int) -> None:
        """Wait until so many turns are stored, running or in line."""
        await until(lambda: self.adapter.rows("turns") == turns)

    async def close(self) -> None:
        for process in self.processes:
            await process.close()


def stage_at(path: Path) -> Stage:
    return Stage(SqliteAdapter(path / "stage.db"))
