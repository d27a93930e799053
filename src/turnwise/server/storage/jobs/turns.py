# ruff: noqa: D103 - the port, journal.py, says what the methods promise that these carry out
"""Processes, their leases, and the turns that dead ones left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from turnwise.server.errors import NotFound
from turnwise.server.ids import NewId
from turnwise.server.storage.jobs.idempotency import KEPT
from turnwise.server.storage.jobs.messages import append
from turnwise.server.storage.jobs.notices import tell
from turnwise.server.storage.jobs.rows import Database, Row, run
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.journal import LEFT, LINE_MOVED, Place, TurnKind, TurnRow, TurnState
from turnwise.types.message import Message

__all__ = [
    "SQL",
    "any_lapsed",
    "claim_lapsed",
    "end_abandoned",
    "hand_over",
    "interrupt",
    "is_alive",
    "leave_process",
    "other_processes",
    "purge_turns",
    "put_back",
    "register_process",
    "renew_process",
    "to_turn",
]

SQL: Final = load("journal")


def register_process(db: Database, process_id: str, lease_ms: int) -> None:
    run(db, SQL["disown"], process_id)
    run(db, SQL["register"], process_id, lease_ms)


def renew_process(db: Database, process_id: str, lease_ms: int) -> bool:
    return run(db, SQL["renew"], process_id, lease_ms).rowcount == 1


def other_processes(db: Database, process_id: str) -> int:
    return int(run(db, SQL["others"], process_id).fetchone()[0])


def leave_process(db: Database, process_id: str) -> None:
    run(db, SQL["leave"], process_id)
    tell(db, LEFT, None)


def put_back(db: Database, place: Place) -> None:
    if run(db, SQL["put_back"], place.turn_id, place.attempt, place.process_id).rowcount:
        tell(db, LEFT, None)


def hand_over(db: Database, process_id: str, *, running: bool) -> None:
    if run(db, SQL["hand_over"], process_id, running).rowcount:
        tell(db, LEFT, None)


def is_alive(db: Database, process_id: str) -> bool:
    return bool(run(db, SQL["alive"], process_id).fetchone()[0])


def any_lapsed(db: Database) -> bool:
    return bool(run(db, SQL["any_lapsed"]).fetchone()[0])


def claim_lapsed(
    db: Database, process_id: str, *, limit: int, waiting: bool, moment: int, now: int, new_id: NewId
) -> tuple[list[TurnRow], int]:
    """Return what was adopted, and how many turns were settled."""
    if not is_alive(db, process_id):
        return [], 0
    adopted: list[TurnRow] = []
    settled = 0
    for row in cast("list[Row]", run(db, SQL["lapsed"], waiting, limit).fetchall()):
        turn = to_turn(db, row)
        if turn.kind == "dispatch":
            run(db, SQL["adopt"], process_id, turn.id)
            adopted.append(to_turn(db, run(db, SQL["turn"], turn.id).fetchone()))
        else:
            interrupt(db, turn, moment=moment, now=now, new_id=new_id)
            settled += 1
    run(db, SQL["bury"])
    return adopted, settled


def interrupt(db: Database, turn: TurnRow, *, moment: int, now: int, new_id: NewId) -> None:
    """End a turn whose process died; what it had said becomes a message, where there is still a conversation."""
    end_abandoned(db, turn.id, "interrupted", "crash", moment)
    if not turn.text or turn.conversation_id is None:
        return
    meta: dict[str, object] = {"interrupted": True, "reason": "crash"}
    said = Message(id=new_id(), type="bot", text=turn.text, meta=meta, created_at=moment, updated_at=moment)
    try:
        append(db, turn.account_id, turn.conversation_id, [said], used=(), now=now)
    except NotFound:
        return


def end_abandoned(db: Database, turn_id: str, state: TurnState, reason: str, moment: int) -> None:
    """End a turn that nobody runs."""
    run(db, SQL["end_abandoned"], state, reason, moment, 0, turn_id)
    run(db, SQL["forget_events"], turn_id)
    tell(db, LINE_MOVED, None)


def purge_turns(db: Database, *, now: int, limit: int) -> int:
    """Remove up to `limit` turns that ended a day ago, and processes that died; return how many turns went."""
    run(db, SQL["bury"])
    return run(db, SQL["purge"], now - KEPT, limit).rowcount


def to_turn(db: Database, row: Row) -> TurnRow:
    """Return the turn in a row of journal.sql's `columns`, with what was journaled of it."""
    id_, account_id, conversation_id, channel_id, kind, state, attempt, owner, *more = row
    message_id, request, steps, tokens, reason, created_at, started_at, ended_at, cancel = more
    events = cast("Sequence[tuple[int, str]]", () if ended_at else run(db, SQL["events"], id_).fetchall())
    return TurnRow(
        id=cast("str", id_),
        account_id=cast("str", account_id),
        conversation_id=cast("str | None", conversation_id),
        channel_id=cast("str | None", channel_id),
        kind=cast("TurnKind", kind),
        state=cast("TurnState", state),
        attempt=cast("int", attempt),
        process_id=cast("str", owner),
        message_id=cast("str | None", message_id),
        request=cast("bytes", request),
        steps=cast("bytes | None", steps),
        text="".join(text for _, text in events),
        tokens=max([cast("int", tokens), *(count for count, _ in events)]),
        reason=cast("str | None", reason),
        created_at=cast("int", created_at),
        started_at=cast("int | None", started_at),
        ended_at=cast("int | None", ended_at),
        cancelled=bool(cancel),
    )
