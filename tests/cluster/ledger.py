"""What clients were told, held against what the database has in the end."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.parse import urlsplit

from tests.cluster.balancer import Exchange
from tests.server.postgres import executed

__all__ = ["Ledger", "Stored"]

PATH: Final = re.compile(r"/api/v1/conversation/(?:([^/]+)/)?(?:message/(?:([^/]+)/)?)?(\w+)")
STORING: Final = frozenset({"send", "complete", "dispatch"})
"""The operations on a conversation that store what a user says."""

Said = tuple[str, str]
"""A conversation, and what was said in it."""


@dataclass
class Stored:
    """What a database holds."""

    conversations: set[str]
    messages: Counter[tuple[str, str]]
    """How often each message is there, by its conversation's id and its own."""
    said: Counter[Said]
    """How often the user said what."""
    unfinished: list[tuple[Any, ...]]
    """Turns that have not ended."""

    @classmethod
    async def of(cls, database: str) -> Stored:
        """Read all of it."""
        conversations = await executed(database, "SELECT id FROM conversations")
        messages = await executed(
            database,
            "SELECT c.id, m.id, m.type, m.text FROM messages m JOIN conversations c ON c.key = m.conversation",
        )
        unfinished = await executed(
            database, "SELECT id, conversation, kind, state, owner, attempt FROM turns WHERE ended_at IS NULL"
        )
        return cls(
            {row[0] for row in conversations},
            Counter((conversation, message) for conversation, message, _, _ in messages),
            Counter((conversation, text) for conversation, _, kind, text in messages if kind == "user"),
            unfinished,
        )


@dataclass
class Ledger:
    """What a balancer's exchanges acknowledged."""

    conversations: set[str] = field(default_factory=set[str])
    messages: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    asked: dict[Said, set[str]] = field(default_factory=lambda: defaultdict[Said, set[str]](set))
    """Under which keys it was asked that the user says this."""
    told: dict[Said, set[str]] = field(default_factory=lambda: defaultdict[Said, set[str]](set))
    """Under which of them it was acknowledged."""
    deleted: set[str] = field(default_factory=set[str])
    """Conversations and messages that were to be deleted, whether or not that was acknowledged."""
    changed: set[str] = field(default_factory=set[str])
    """Conversations in which a message was to be changed or deleted."""

    @classmethod
    def of(cls, exchanges: Sequence[Exchange]) -> Ledger:
        """Read all that went through a balancer."""
        ledger = cls()
        for number, exchange in enumerate(exchanges):
            path = PATH.fullmatch(urlsplit(exchange.path).path)
            if exchange.method == "POST" and path is not None:
                ledger._enter(exchange, exchange.key or f"no key {number}", *path.groups())
        return ledger

    def _enter(
        self, exchange: Exchange, key: str, conversation: str | None, message: str | None, operation: str
    ) -> None:
        by_message = "/message/" in exchange.path
        answers = list(_answers(exchange)) if exchange.status == 200 else []
        if conversation is None:
            if operation == "create":
                self.conversations |= {answer["id"] for answer in answers}
        elif operation == "delete":
            self.deleted |= {message} if message is not None else {conversation}
            self.changed |= {conversation}
        elif by_message and operation == "update":
            self.changed |= {conversation}
        elif operation in STORING | {"receive"} or (by_message and operation == "create"):
            self.messages |= {(conversation, answer["id"]) for answer in answers if "id" in answer}
            self._said(exchange, key, conversation, answered=bool(answers))

    def _said(self, exchange: Exchange, key: str, conversation: str, *, answered: bool) -> None:
        try:
            body = json.loads(exchange.body or b"{}")
        except ValueError:
            return
        refused = 400 <= exchange.status < 500 and exchange.status != 409
        if body.get("type", "user") == "user" and isinstance(body.get("text"), str) and not refused:
            said = (conversation, body["text"].strip())
            self.asked[said].add(key)
            if answered:
                self.told[said].add(key)

    def check(self, stored: Stored) -> None:
        """Assert that nothing acknowledged is lost, that nothing is doubled, and that no turn is left."""
        assert stored.unfinished == []
        assert self.conversations - self.deleted - stored.conversations == set()
        kept = {each for each in self.messages if each[0] not in self.deleted and each[1] not in self.deleted}
        assert {each: stored.messages[each] for each in kept if stored.messages[each] != 1} == {}
        settled = {said for said in self.asked if said[0] not in self.deleted | self.changed}
        lost = {said for said in settled if stored.said[said] < len(self.told.get(said, ()))}
        assert lost == set()
        doubled = {said for said in settled if stored.said[said] > len(self.asked[said])}
        assert doubled == set()


def _answers(exchange: Exchange) -> Iterator[dict[str, Any]]:
    """Yield what an answer, or the events of a streamed one, acknowledged to be stored."""
    for line in exchange.answer.splitlines():
        try:
            told = cast("dict[str, Any]", json.loads(line))
        except ValueError:  # the last line of a stream that was cut
            continue
        if "type" not in told or "data" not in told:
            yield told
        elif told["type"] in {"sendResult", "receiveResult", "result"}:
            yield told["data"]
