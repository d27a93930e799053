"""No statement of the hot paths walks a table or sorts: their cost stays the same whatever is stored."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from turnwise.server.storage.database import SCHEMA_FILE
from turnwise.server.storage.jobs.listing import filter_statement
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.jobs.terms import Condition

NOUNS = ("accounts", "conversations", "messages", "idempotency", "upkeep", "journal", "channels", "waits")

WALKS_BY_DESIGN = {
    "accounts.accounts": "the command line lists all accounts",
    "accounts.secrets": "the command line lists all secrets",
    "upkeep.aged_keys": "reads the first keys, as many as it may remove",
    "upkeep.purge_writers": "there are few writers",
    "journal.bury": "there are few processes",
    "journal.others": "there are few processes",
    "journal.any_lapsed": "looks at the turns that have not ended, which are few",
    "journal.lapsed": "looks at the turns that have not ended, which are few",
    "journal.first_of": "walks the turns it is asked for",
    "journal.purge": "reads the first turns that ended, as many as it may remove",
    "waits.purge": "there are as many waits as calls that are being waited for",
    "channels.aged": "reads the oldest rows, as many as it may remove",
    "channels.last_seqs": "walks the channels it is asked for",
    "channels.history": "numbers the rows it reads, as many as it is asked for",
}

OTHERS = [Condition("meta.plan", ("pro",), 7), Condition("botId", ("a", "b"), 1)]


def statements() -> dict[str, str]:
    found = {
        f"{noun}.{name}": text
        for noun in NOUNS
        for name, text in load(noun).items()
        if not name.endswith(("columns", "fragment")) and not name.startswith("filter_")
    }
    for order in ("asc", "desc"):
        found[f"filter_{order}"] = filter_statement(order, [])
        found[f"filter_{order}_others"] = filter_statement(order, OTHERS)
    return found


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA_FILE.read_text(encoding="utf-8"))
        yield connection


def plan(database: sqlite3.Connection, statement: str) -> list[str]:
    numbered = max(map(int, re.findall(r"\?(\d+)", statement)), default=0)
    values = [None] * (numbered or statement.count("?"))
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def faults(steps: list[str]) -> list[str]:
    return [
        step
        for step in steps
        if (step.startswith("SCAN") and step not in {"SCAN CONSTANT ROW", "SCAN (subquery-1)", "SCAN (subquery-2)"})
        or "TEMP B-TREE" in step
        or "AUTOMATIC" in step
    ]


@pytest.mark.parametrize("name", [name for name in statements() if name not in WALKS_BY_DESIGN])
def test_statement_neither_scans_nor_sorts(database: sqlite3.Connection, name: str) -> None:
    steps = plan(database, statements()[name])
    assert faults(steps) == [], steps


@pytest.mark.parametrize("name", WALKS_BY_DESIGN)
def test_a_statement_that_does_would_be_noticed(database: sqlite3.Connection, name: str) -> None:
    assert faults(plan(database, statements()[name]))


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_each_other_condition_of_a_filter_is_one_look_up(database: sqlite3.Connection, order: str) -> None:
    steps = plan(database, statements()[f"filter_{order}_others"])
    look_ups = [step for step in steps if step.startswith("SEARCH o ")]
    assert len(look_ups) == len(OTHERS)
    for step in look_ups:
        assert step.endswith("(account=? AND name=? AND value=? AND created_at=? AND id=?)")


def test_pages_are_read_from_the_clustered_key(database: sqlite3.Connection) -> None:
    for order in ("asc", "desc"):
        steps = plan(database, statements()[f"messages.list_{order}"])
        assert len(steps) == 1
        assert "USING PRIMARY KEY (conversation=? AND sequence" in steps[0]
