# ruff: noqa: D103 - the port, journal.py, says what the methods promise that these carry out
"""The life of a turn: begun, journaled, taken from step to step, ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

from turnwise.server.errors import Conflict, NotFound
from turnwise.server.ids import NewId
from turnwise.server.storage.base import Exchange, Once, TurnStart
from turnwise.server.storage.jobs.channels import publish
from turnwise.server.storage.jobs.conversations import fetch_conversation, owned
from turnwise.server.storage.jobs.idempotency import answer_once, find_once, remember_once
from turnwise.server.storage.jobs.messages import append, newest
from turnwise.server.storage.jobs.notices import tell
from turnwise.server.storage.jobs.rows import Database, Row, run
from turnwise.server.storage.jobs.turns import SQL, end_abandoned, interrupt, is_alive, to_turn
from turnwise.server.storage.journal import (
    CANCELLED,
    LEFT,
    LINE_MOVED,
    Busy,
    Flush,
    NewTurn,
    Place,
    Publication,
    TurnLost,
    TurnRow,
    TurnState,
)
from turnwise.types.message import Message

__all__ = [
    "cancel_turn",
    "cancelled_turns",
    "find_turn",
    "first_of",
    "flush",
    "leave_line",
    "queue_turn",
    "resume_turn",
    "run_stateless",
    "settle_turn",
    "start_turn",
    "store_step",
]


def start_turn(
    db: Database,
    turn: NewTurn,
    message: Message | None,
    *,
    recent: int,
    once: Once | None,
    now: int,
    new_id: NewId,
) -> TurnStart:
    if turn.conversation_id is None:
        raise ValueError("a turn that is started has a conversation")
    # A turn may try often until the one before it has ended: what is refused is refused before anything is written.
    if once is not None and (known := find_once(db, turn.account_id, once.path, once.key, once.now)) is not None:
        raise known
    _start(db, turn, message, now, new_id)
    if once is not None:
        remember_once(db, turn.account_id, once, None if message is None else message.id)
    if message is not None:
        append(db, turn.account_id, turn.conversation_id, [message], used=(), now=now)
    return _start_with(db, turn.account_id, turn.conversation_id, recent, now)


def resume_turn(
    db: Database,
    place: Place,
    message: Message | None,
    *,
    recent: int,
    moment: int,
    published: Publication | None,
    once: Once | None,
    now: int,
    new_id: NewId,
) -> TurnStart:
    row = cast("Row | None", run(db, SQL["mine"], place.turn_id, place.attempt, place.process_id).fetchone())
    if row is None:
        raise _lost(place)
    account_id, conversation_id, stored = cast("tuple[str, str | None, str | None]", row)
    if conversation_id is None:
        raise ValueError("a turn without a conversation is run by run_stateless")
    if once is not None and (known := find_once(db, account_id, once.path, once.key, once.now)) is not None:
        raise known
    owned(db, account_id, conversation_id, now)
    if stored is not None:
        message = None
    values = None if message is None else message.id, moment, place.turn_id
    if run(db, SQL["resume"], *values).rowcount == 0:
        _make_way(db, conversation_id, moment, now, new_id)
        if run(db, SQL["resume"], *values).rowcount == 0:
            raise _not_first(conversation_id)
    if once is not None:
        remember_once(db, account_id, once, None if message is None else message.id)
    if message is not None:
        append(db, account_id, conversation_id, [message], used=(), now=now)
    if published is not None:
        publish(db, [published])
    return _start_with(db, account_id, conversation_id, recent, now)


def run_stateless(db: Database, place: Place, *, moment: int, published: Publication | None) -> None:
    if run(db, SQL["run_stateless"], moment, place.turn_id, place.attempt, place.process_id).rowcount == 0:
        raise _lost(place)
    if published is not None:
        publish(db, [published])


def first_of(db: Database, turn_ids: Sequence[str]) -> list[str]:
    return [id_ for (id_,) in run(db, SQL["first_of"], json.dumps(turn_ids)).fetchall()]


def leave_line(db: Database, place: Place) -> None:
    if run(db, SQL["leave_line"], place.turn_id, place.attempt, place.process_id).rowcount:
        tell(db, LINE_MOVED, None)


def queue_turn(db: Database, turn: NewTurn, *, once: Once | None, now: int) -> TurnRow | None:
    if turn.conversation_id is not None:
        owned(db, turn.account_id, turn.conversation_id, now)
    if once is not None:
        remember_once(db, turn.account_id, once)
    place = turn.id, turn.account_id, turn.conversation_id, turn.channel_id
    if run(db, SQL["queue"], *place, turn.kind, turn.process_id, turn.request, turn.now).rowcount == 1:
        return None
    if not is_alive(db, turn.process_id):
        raise _lease_lost(turn.process_id)
    known = to_turn(db, run(db, SQL["of_channel"], turn.account_id, turn.channel_id).fetchone())
    if known.conversation_id != turn.conversation_id:
        raise Conflict(
            "$.channelId: something else was dispatched on this channel, for another conversation or for none. "
            "Choose another one; a random UUID is good."
        )
    return known


def flush(db: Database, flushes: Sequence[Flush]) -> tuple[list[Place], list[str]]:
    unfinished: dict[tuple[str, str, int], bool] = {}
    for process_id in {item.place.process_id for item in flushes}:
        for id_, attempt, cancel in run(db, SQL["unfinished_of"], process_id).fetchall():
            unfinished[process_id, id_, attempt] = bool(cancel)
    held: list[Flush] = []
    lost: list[Place] = []
    cancelled: list[str] = []
    for item in flushes:
        place = item.place
        cancel = unfinished.get((place.process_id, place.turn_id, place.attempt))
        if cancel is None:
            lost.append(place)
            continue
        if not (item.again and _is_stored(db, item)):
            held.append(item)
        if cancel:
            cancelled.append(place.turn_id)
    db.executemany(SQL["add_text"], [(item.place.turn_id, item.tokens, item.text) for item in held if item.text])
    db.executemany(
        SQL["set_tokens"], [(item.place.turn_id, item.tokens) for item in held if item.tokens and not item.text]
    )
    publish(db, [item.published for item in held if item.published is not None])
    return lost, cancelled


def _is_stored(db: Database, item: Flush) -> bool:
    """Tell whether a flush was committed though its process could not hear of that."""
    told = item.published
    if told is not None:
        row = run(db, SQL["is_published"], told.account_id, told.channel_id, told.last_seq).fetchone()
    else:
        row = run(db, SQL["is_journaled"], item.place.turn_id, item.tokens).fetchone()
    return bool(row[0])


def store_step(
    db: Database,
    place: Place,
    exchange: Exchange,
    *,
    steps: bytes,
    tokens: int,
    published: Publication | None,
    now: int,
) -> None:
    mine = place.turn_id, place.attempt, place.process_id
    row = cast("Row | None", run(db, SQL["step"], steps, tokens, *mine, steps).fetchone())
    if row is None:
        if run(db, SQL["is_stored_step"], *mine, steps).fetchone()[0]:
            return
        raise _lost(place)
    account_id, conversation_id, journaled = cast("tuple[str, str | None, int]", row)
    if journaled:
        run(db, SQL["forget_events"], place.turn_id)
    if conversation_id is not None and (exchange.messages or exchange.used):
        append(db, account_id, conversation_id, exchange.messages, used=exchange.used, now=now)
    if published is not None:
        publish(db, [published])


def settle_turn(
    db: Database,
    place: Place,
    exchange: Exchange,
    *,
    state: TurnState,
    reason: str | None,
    tokens: int,
    moment: int,
    published: Publication | None,
    once: Once | None,
    now: int,
) -> NotFound | None:
    """Return the refusal of a conversation that was deleted meanwhile: the turn ends all the same."""
    values = state, reason, moment, tokens, place.turn_id, place.attempt, place.process_id
    row = cast("Row | None", run(db, SQL["settle"], *values).fetchone())
    if row is None:
        raise _lost(place)
    account_id, conversation_id, journaled, awaited = cast("tuple[str, str | None, int, int]", row)
    if journaled:
        run(db, SQL["forget_events"], place.turn_id)
    if awaited:
        tell(db, LINE_MOVED, None)
    if published is not None:
        publish(db, [published])
    if conversation_id is not None:
        try:
            append(db, account_id, conversation_id, exchange.messages, used=exchange.used, now=now)
        except NotFound as gone:
            return gone
    if once is not None:
        answer_once(db, account_id, once)
    return None


def find_turn(
    db: Database, account_id: str, conversation_id: str | None, channel_id: str | None, now: int
) -> TurnRow | None:
    if conversation_id is not None:
        owned(db, account_id, conversation_id, now)
        row = (
            run(db, SQL["running_in"], conversation_id).fetchone() or run(db, SQL["newest"], conversation_id).fetchone()
        )
    else:
        row = run(db, SQL["of_channel"], account_id, channel_id).fetchone()
    return None if row is None else to_turn(db, row)


def cancel_turn(
    db: Database, account_id: str, conversation_id: str | None, channel_id: str | None, now: int
) -> TurnRow | None:
    if conversation_id is not None:
        owned(db, account_id, conversation_id, now)
        row = (
            run(db, SQL["running_in"], conversation_id).fetchone()
            or run(db, SQL["waiting_in"], conversation_id).fetchone()
        )
    else:
        row = run(db, SQL["of_channel"], account_id, channel_id).fetchone()
    turn = None if row is None else to_turn(db, row)
    if turn is None or turn.ended_at is not None:
        return None
    alive = turn.state != "waiting" or is_alive(db, turn.process_id)
    if not alive and turn.kind != "dispatch":
        end_abandoned(db, turn.id, "aborted", "cancelled", now)
    else:
        run(db, SQL["cancel"], turn.id)
        tell(db, CANCELLED if alive else LEFT, turn.id)
    return to_turn(db, run(db, SQL["turn"], turn.id).fetchone())


def cancelled_turns(db: Database, process_id: str) -> list[str]:
    return [id_ for (id_,) in run(db, SQL["cancelled_of"], process_id).fetchall()]


def _start(db: Database, turn: NewTurn, message: Message | None, now: int, new_id: NewId) -> None:
    """Write the row of a turn that runs at once."""
    values = (
        turn.id,
        turn.account_id,
        turn.conversation_id,
        turn.channel_id,
        turn.kind,
        turn.process_id,
        None if message is None else message.id,
        turn.request,
        turn.now,
        now,
    )
    if run(db, SQL["start"], *values).rowcount == 1:
        return
    conversation_id = cast("str", turn.conversation_id)
    owned(db, turn.account_id, conversation_id, now)
    if not is_alive(db, turn.process_id):
        raise _lease_lost(turn.process_id)
    _make_way(db, conversation_id, turn.now, now, new_id)
    if run(db, SQL["start"], *values).rowcount == 0:
        raise _not_first(conversation_id)


def _make_way(db: Database, conversation_id: str, moment: int, now: int, new_id: NewId) -> None:
    """Settle the running turn of a conversation if its process died; raise `Busy` for one that is to go on."""
    row = cast("Row | None", run(db, SQL["running_in"], conversation_id).fetchone())
    if row is None:  # another process has just ended it
        return
    turn = to_turn(db, row)
    if turn.kind == "dispatch" or is_alive(db, turn.process_id):
        raise Busy(f"The turn {turn.id!r} of this conversation is running. Try again when it has ended.")
    interrupt(db, turn, moment=moment, now=now, new_id=new_id)


def _start_with(db: Database, account_id: str, conversation_id: str, recent: int, now: int) -> TurnStart:
    key, conversation = fetch_conversation(db, account_id, conversation_id, now)
    return TurnStart(conversation=conversation, history=newest(db, key, recent))


def _not_first(conversation_id: str) -> Busy:
    return Busy(f"Other turns of the conversation {conversation_id!r} came first. Try again when they have ended.")


def _lost(place: Place) -> TurnLost:
    return TurnLost(
        f"The turn {place.turn_id!r} has moved on from attempt {place.attempt} of process {place.process_id!r}: it "
        "ended, was adopted, or the process's lease lapsed. Stop working on it."
    )


def _lease_lost(process_id: str) -> TurnLost:
    return TurnLost(f"The process {process_id!r} has no lease. Register it under a new id before it starts turns.")
