"""`turnwise serve` without its journal: what a turn costs where nothing of it has to survive.

The user's message is stored before the model is asked and the reply when it has ended, each with the request's key, as
ever; but there is no row of the turn, no lease, and nothing is flushed while it runs.

    python -m benchmarks.servers.unjournaled serve [OPTIONS]
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

from turnwise._entry import main
from turnwise.server.services.flusher import Flusher
from turnwise.server.storage.base import Exchange, Once, TurnStart
from turnwise.server.storage.jobs.conversations import fetch_conversation
from turnwise.server.storage.jobs.idempotency import answer_once, remember_once
from turnwise.server.storage.jobs.messages import append, newest
from turnwise.server.storage.jobs.rows import Database
from turnwise.server.storage.journal import Journal, NewTurn, Place, Publication, TurnRow, TurnState
from turnwise.server.storage.notices import Notices
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types.message import Message

NEVER = 3600.0


class Unjournaled(SqliteStorage):
    """Stores conversations, and nothing of turns. It knows `complete` and `receive` alone."""

    _places: dict[str, tuple[str, str]]

    async def open(self) -> None:
        self._places = {}
        await super().open()

    async def register_process(self, process_id: str, *, lease_ms: int) -> None:
        """Lease nothing."""

    async def renew_process(self, process_id: str, *, lease_ms: int) -> bool:  # noqa: ARG002
        return True

    async def other_processes(self, process_id: str) -> int:  # noqa: ARG002
        return 0

    async def leave_process(self, process_id: str) -> None:
        """Own nothing."""

    async def claim_lapsed(
        self,
        process_id: str,  # noqa: ARG002
        *,
        limit: int,  # noqa: ARG002
        now: int,  # noqa: ARG002
        waiting: bool = True,  # noqa: ARG002
    ) -> Sequence[TurnRow]:
        return []

    async def start_turn(
        self, turn: NewTurn, message: Message | None, *, recent: int, once: Once | None = None
    ) -> TurnStart:
        assert turn.conversation_id is not None
        self._places[turn.id] = place = turn.account_id, turn.conversation_id
        now = self._clock()
        return await self._write(lambda db: _begin(db, place, message, recent=recent, once=once, now=now))

    async def settle_turn(
        self,
        place: Place,
        exchange: Exchange,
        *,
        state: TurnState,  # noqa: ARG002
        reason: str | None,  # noqa: ARG002
        now: int,  # noqa: ARG002
        tokens: int = 0,  # noqa: ARG002
        published: Publication | None = None,  # noqa: ARG002
        once: Once | None = None,
    ) -> None:
        owner, clock = self._places.pop(place.turn_id), self._clock()
        await self._write(lambda db: _end(db, owner, exchange, once=once, now=clock))


def _begin(
    db: Database, place: tuple[str, str], message: Message | None, *, recent: int, once: Once | None, now: int
) -> TurnStart:
    if once is not None:
        remember_once(db, place[0], once, None if message is None else message.id)
    if message is not None:
        append(db, *place, [message], used=(), now=now)
    key, conversation = fetch_conversation(db, *place, now)
    return TurnStart(conversation=conversation, history=newest(db, key, recent))


def _end(db: Database, place: tuple[str, str], exchange: Exchange, *, once: Once | None, now: int) -> None:
    if once is not None:
        answer_once(db, place[0], once)
    append(db, *place, exchange.messages, used=exchange.used, now=now)


def _idle_flusher(journal: Journal, *, notices: Notices) -> Flusher:
    return Flusher(journal, notices=notices, tick=NEVER)


if __name__ == "__main__":
    with (
        patch("turnwise.server.storage.open.SqliteStorage", Unjournaled),
        patch("turnwise.server.services.turns.Flusher", _idle_flusher),
    ):
        main()
