# ruff: noqa: D103 - the port, base.py, says what the methods promise that these carry out
"""Pages of conversations: by account, or by the rarest of the terms that are asked for."""

from __future__ import annotations

import heapq
from typing import Final, cast

from turnwise.server.errors import BadRequest
from turnwise.server.storage.base import ConversationQuery
from turnwise.server.storage.jobs.conversations import SQL
from turnwise.server.storage.jobs.rows import Database, Row, Value, run, to_conversation
from turnwise.server.storage.jobs.terms import Condition, conditions
from turnwise.types.conversation import Conversation

__all__ = ["filter_statement", "list_conversations"]

ENOUGH: Final = 1000
"""Terms are counted up to here to find the rarest."""

Place = tuple[int, str]
"""Where in the list: creation, then id."""

_FIRST: Final[dict[str, Place]] = {"asc": (-(2**63), ""), "desc": (2**63 - 1, "")}


def list_conversations(db: Database, account_id: str, query: ConversationQuery, now: int) -> list[Conversation]:
    place = _FIRST[query.order] if query.cursor is None else _place(db, account_id, query.cursor)
    asked = conditions(query)
    if not asked:
        rows = run(db, SQL[f"list_{query.order}"], account_id, *place, now, query.take).fetchall()
    else:
        rows = _filtered(db, account_id, query, asked, place=place, now=now)
    return [to_conversation(row) for row in rows]


def filter_statement(order: str, others: list[Condition]) -> str:
    """Return the statement that walks one term's conversations and checks the other conditions on each."""
    clauses = (SQL["filter_other"].replace("/* values */", ",".join("?" * len(other.values))) for other in others)
    return SQL[f"filter_{order}"].replace("/* others */", "\n".join(clauses))


def _place(db: Database, account_id: str, cursor: str) -> Place:
    for statement in (SQL["cursor"], SQL["removed_cursor"]):
        row = run(db, statement, cursor, account_id).fetchone()
        if row is not None:
            return cast("int", row[0]), cursor
    raise BadRequest(f"cursor: {cursor!r} is no conversation of this account. Give a cursor that `list` answered.")


def _filtered(
    db: Database,
    account_id: str,
    query: ConversationQuery,
    asked: list[Condition],
    *,
    place: Place,
    now: int,
) -> list[Row]:
    if len(asked) > 1:
        asked = sorted(asked, key=lambda condition: _count(db, account_id, condition))
    rarest, *others = asked
    statement = filter_statement(query.order, others)
    checked: list[Value] = []
    for other in others:
        checked += [other.name, *other.values, other.kinds]
    pages = [
        run(db, statement, account_id, rarest.name, value, rarest.kinds, *place, now, *checked, query.take).fetchall()
        for value in rarest.values
    ]
    merged = heapq.merge(*pages, key=lambda row: (row[1], row[0]), reverse=query.order == "desc")
    return [row for row, _ in zip(merged, range(query.take), strict=False)]


def _count(db: Database, account_id: str, condition: Condition) -> int:
    return sum(
        run(db, SQL["term_count"], account_id, condition.name, value, ENOUGH).fetchone()[0]
        for value in condition.values
    )
