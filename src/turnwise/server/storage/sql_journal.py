# ruff: noqa: D102 - the port, journal.py, says what each method promises
"""The journal in a database that speaks SQL."""

from __future__ import annotations

from collections.abc import Sequence

from turnwise.server.storage.base import AlreadyDone, Exchange, Once, TurnStart
from turnwise.server.storage.jobs import channels as jobs
from turnwise.server.storage.jobs import claims, journal, turns, waits
from turnwise.server.storage.journal import ChannelRow, Flush, NewTurn, Place, Publication, TurnRow, TurnState
from turnwise.server.storage.sql_database import SqlDatabase
from turnwise.types.message import Message

__all__ = ["SqlJournal"]


class SqlJournal(SqlDatabase):
    """The journal's port, as jobs that a database runs."""

    # Processes

    async def register_process(self, process_id: str, *, lease_ms: int) -> None:
        await self._write(lambda db: turns.register_process(db, process_id, lease_ms))

    async def renew_process(self, process_id: str, *, lease_ms: int) -> bool:
        return await self._write(lambda db: turns.renew_process(db, process_id, lease_ms))

    async def other_processes(self, process_id: str) -> int:
        return await self._read(lambda db: turns.other_processes(db, process_id))

    async def leave_process(self, process_id: str) -> None:
        await self._write(lambda db: turns.leave_process(db, process_id))

    async def put_back(self, place: Place) -> None:
        await self._write(lambda db: turns.put_back(db, place))

    async def hand_over(self, process_id: str, *, running: bool) -> None:
        await self._write(lambda db: turns.hand_over(db, process_id, running=running))

    async def claim_lapsed(self, process_id: str, *, limit: int, now: int, waiting: bool = True) -> Sequence[TurnRow]:
        if not await self._read(turns.any_lapsed):
            return []
        clock = self._clock()
        while True:
            adopted, settled = await self._write(
                lambda db: turns.claim_lapsed(
                    db, process_id, limit=limit, waiting=waiting, moment=now, now=clock, new_id=self._new_id
                )
            )
            if adopted or not settled:
                return adopted

    # Turns

    async def queue_turn(self, turn: NewTurn, *, once: Once | None = None) -> TurnRow | None:
        now = self._clock()
        return await self._write(
            lambda db: journal.queue_turn(db, turn, once=once, now=now), to=turn.conversation_id or ""
        )

    async def start_turn(
        self, turn: NewTurn, message: Message | None, *, recent: int, once: Once | None = None
    ) -> TurnStart:
        now = self._clock()
        return await self._write(
            lambda db: journal.start_turn(db, turn, message, recent=recent, once=once, now=now, new_id=self._new_id),
            to=turn.conversation_id or "",
        )

    async def resume_turn(
        self,
        place: Place,
        message: Message | None,
        *,
        recent: int,
        now: int,
        published: Publication | None = None,
        once: Once | None = None,
    ) -> TurnStart:
        clock = self._clock()
        return await self._write(
            lambda db: journal.resume_turn(
                db,
                place,
                message,
                recent=recent,
                moment=now,
                published=published,
                once=once,
                now=clock,
                new_id=self._new_id,
            ),
            turns=(place.turn_id,),
            channels=_channels(published),
        )

    async def first_of(self, turn_ids: Sequence[str]) -> Sequence[str]:
        return await self._read(lambda db: journal.first_of(db, turn_ids))

    async def leave_line(self, place: Place) -> None:
        await self._write(lambda db: journal.leave_line(db, place))

    async def claim_once(self, account_id: str, once: Once, place: Place) -> AlreadyDone | None:
        return await self._write(lambda db: claims.claim_once(db, account_id, once, place))

    async def release_once(self, account_id: str, once: Once, place: Place) -> None:
        await self._write(lambda db: claims.release_once(db, account_id, once, place))

    async def run_stateless(self, place: Place, *, now: int, published: Publication | None = None) -> None:
        await self._write(
            lambda db: journal.run_stateless(db, place, moment=now, published=published),
            channels=_channels(published),
        )

    async def flush(self, flushes: Sequence[Flush]) -> tuple[Sequence[Place], Sequence[str]]:
        channels = _channels(*(item.published for item in flushes))
        return await self._write(lambda db: journal.flush(db, flushes), channels=channels)

    async def cancelled_turns(self, process_id: str) -> Sequence[str]:
        return await self._read(lambda db: journal.cancelled_turns(db, process_id))

    async def store_step(
        self,
        place: Place,
        exchange: Exchange,
        *,
        steps: bytes,
        tokens: int = 0,
        published: Publication | None = None,
    ) -> None:
        now = self._clock()
        await self._write(
            lambda db: journal.store_step(
                db, place, exchange, steps=steps, tokens=tokens, published=published, now=now
            ),
            turns=(place.turn_id,),
            channels=_channels(published),
        )

    async def settle_turn(
        self,
        place: Place,
        exchange: Exchange,
        *,
        state: TurnState,
        reason: str | None,
        now: int,
        tokens: int = 0,
        published: Publication | None = None,
        once: Once | None = None,
    ) -> None:
        clock = self._clock()
        gone = await self._write(
            lambda db: journal.settle_turn(
                db,
                place,
                exchange,
                state=state,
                reason=reason,
                tokens=tokens,
                moment=now,
                published=published,
                once=once,
                now=clock,
            ),
            turns=(place.turn_id,),
            channels=_channels(published),
        )
        if gone is not None:
            raise gone

    async def find_turn(
        self, account_id: str, *, conversation_id: str | None = None, channel_id: str | None = None
    ) -> TurnRow | None:
        now = self._clock()
        return await self._read(lambda db: journal.find_turn(db, account_id, conversation_id, channel_id, now))

    async def cancel_turn(
        self, account_id: str, *, conversation_id: str | None = None, channel_id: str | None = None
    ) -> TurnRow | None:
        now = self._clock()
        return await self._write(
            lambda db: journal.cancel_turn(db, account_id, conversation_id, channel_id, now), to=conversation_id or ""
        )

    # Waits

    async def begin_wait(self, place: Place, call_id: str, channel_id: str) -> None:
        await self._write(lambda db: waits.begin_wait(db, place, call_id, channel_id))

    async def end_wait(self, place: Place, call_id: str) -> None:
        await self._write(lambda db: waits.end_wait(db, place, call_id))

    async def waited_on(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        return await self._read(lambda db: waits.waited_on(db, account_id, conversation_id, channel_id))

    # Channels

    async def publish(self, publications: Sequence[Publication], *, once: Once | None = None) -> Sequence[int]:
        channels = _channels(*publications)
        return await self._write(lambda db: jobs.publish(db, publications, once=once), channels=channels)

    async def reserve_numbers(self, account_id: str, channel_id: str, count: int) -> int:
        now = self._clock()
        return await self._write(
            lambda db: jobs.reserve_numbers(db, account_id, channel_id, count, now),
            channels=((account_id, channel_id),),
        )

    async def channel_seq(self, account_id: str, channel_id: str) -> int:
        return await self._read(lambda db: jobs.channel_seq(db, account_id, channel_id))

    async def stored_seqs(self, channels: Sequence[tuple[str, str]]) -> Sequence[int]:
        return await self._read(lambda db: jobs.stored_seqs(db, channels))

    async def channel_rows(
        self, account_id: str, channel_id: str, *, after: int, limit: int, now: int
    ) -> Sequence[ChannelRow]:
        return await self._read(
            lambda db: jobs.channel_rows(db, account_id, channel_id, after=after, limit=limit, now=now)
        )

    async def channel_history(self, account_id: str, channel_id: str, *, length: int, now: int) -> int:
        return await self._read(lambda db: jobs.channel_history(db, account_id, channel_id, length=length, now=now))


def _channels(*published: Publication | None) -> Sequence[tuple[str, str]]:
    return [(each.account_id, each.channel_id) for each in published if each is not None]
