"""On PostgreSQL, too, no statement of the hot paths walks a table or sorts one.

Every statement is planned once for all values, as the server's own connections ask for it: over tables that are filled,
and, since a plan may be older than what is stored, over empty ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary
from sqlalchemy.sql.schema import Table
from tests.server.postgres import PostgresServer, blocking
from tests.server.storage.test_plans import OTHERS

from turnwise.server.storage.jobs.listing import filter_statement
from turnwise.server.storage.jobs.statements import load
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.postgres_connection import NOUNS, STEADY, numbered
from turnwise.server.storage.schema import metadata

Plans = dict[str, dict[str, list[dict[str, Any]]]]

ROWS = 50_000

EAGER = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_index_scan_size = 0"
"""Lets the planner want parallel workers over these tables as it would over much larger ones."""

RUNNING = """
    UPDATE turns SET ended_at = NULL, state = CASE WHEN created_at % 2000 = 0 THEN 'running' ELSE 'waiting' END
    WHERE created_at % 500 = 0
"""
"""One turn in five hundred has not ended."""

SMALL = {"accounts", "processes", "secrets", "settings", "waits", "writers"}
"""Tables that hold a row for each account, secret or process: few, however much is stored."""

FEW = {f"walks turns along turns_{which}" for which in ("unfinished", "running", "waiting")}

BY_DESIGN = {
    "accounts.secrets": "the command line lists all secrets",
    "upkeep.aged_keys": "reads the first keys, as many as it may remove",
    "upkeep.purge_writers": "there are few writers",
    "journal.any_lapsed": "looks at the turns that have not ended, which are few",
    "journal.lapsed": "looks at the turns that have not ended, which are few",
    "journal.lapsed_writing": "looks at the turns that have not ended, which are few",
    "journal.newest": "sorts a day's turns of one conversation",
    "journal.waiting_in": "sorts the turns that wait in one conversation",
    "journal.waiting_in_writing": "sorts the turns that wait in one conversation",
    "journal.purge": "reads the first turns that ended, as many as it may remove",
    "journal.unfinished_of_writing": "sorts the turns that one process runs",
    "channels.full": "looks at the channels that are too full, which are few",
    "channels.aged": "reads the oldest rows, as many as it may remove",
    "channels.aged_writing": "reads the oldest rows, as many as it may remove",
    "rates.turns": "sorts a minute's rows of the subjects it is asked for",
    "rates.purge": "reads the oldest rows, as many as it may remove",
    "writers.lock": "sorts what it is asked for",
    "writers.append": "sorts what it is given",
}
"""What walks or sorts all the same, and why that costs little."""


def statements() -> dict[str, str]:
    found = {
        f"{noun}.{name}": text
        for noun in (*NOUNS, "writers")
        if noun != "deployment"
        for name, text in load(noun, dialect="postgres").items()
        if not name.endswith(("columns", "fragment")) and not name.startswith("filter_")
    }
    for order in ("asc", "desc"):
        found[f"filter_{order}"] = filter_statement(order, [])
        found[f"filter_{order}_others"] = filter_statement(order, OTHERS)
    return {name: numbered(text) for name, text in found.items()}


def value(table: Table, column: Column[Any]) -> str:
    """Return what a column holds in the row n: some share a value where the key says that they do."""
    keys = [list(table.primary_key.columns)]
    shared = any(len(key) > 1 and key[0] is column for key in keys)
    few = column.name == "account" or (table.name == "conversation_terms" and column.name in {"name", "value"})
    number = "n % 5" if few else "n / 50" if shared else "n"
    match column.type:
        case Boolean():
            return "n % 2 = 0"
        case BigInteger() | Integer():
            return number
        case LargeBinary():
            return f"int4send({number})"
        case _:
            return f"'{column.name} ' || {number}"


async def fill(connection: Any) -> None:
    for table in metadata.sorted_tables:
        columns = ", ".join(value(table, column) for column in table.columns)
        rows = ROWS if table.name not in SMALL else 20
        await connection.execute(f"DELETE FROM {table.name}")  # noqa: S608 - our tables
        given = f"SELECT {columns} FROM generate_series(1, {rows}) n"  # noqa: S608
        await connection.execute(f"INSERT INTO {table.name} {given}")
    await connection.execute(f"{RUNNING}; ANALYZE")


async def planned(url: str) -> Plans:
    """Return how each statement is planned over empty tables, and over filled ones."""
    storage = PostgresStorage(url)
    await storage.open()
    await storage.close()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"{EAGER}; {STEADY}")
        empty = {name: await plan(connection, text) for name, text in statements().items()}
        await fill(connection)
        return {"empty": empty, "filled": {name: await plan(connection, text) for name, text in statements().items()}}
    finally:
        await connection.close()


async def plan(connection: Any, statement: str) -> list[dict[str, Any]]:
    """Return the nodes of a statement's plan, from the top."""
    count = max(map(int, re.findall(r"\$(\d+)", statement)), default=0)
    await connection.execute(f"PREPARE planned AS {statement}")
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    (text,) = await connection.fetchrow(f"EXPLAIN (FORMAT JSON) EXECUTE planned{arguments}")
    await connection.execute("DEALLOCATE planned")
    return list(nodes(json.loads(text)[0]["Plan"]))


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from nodes(below)


def faults(plan: list[dict[str, Any]], *, empty: bool = False) -> list[str]:
    """Return where a plan walks or sorts; over empty tables it may walk an index that holds few rows later too."""
    return [fault for fault in _faults(plan) if not (empty and fault in FEW)]


def _faults(plan: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for node in plan:
        kind, table = node["Node Type"], node.get("Relation Name")
        if kind == "Seq Scan" and table not in SMALL:
            found.append(f"walks {table}")
        if kind.startswith("Index") and "Index Cond" not in node and table not in SMALL:
            found.append(f"walks {table} along {node['Index Name']}")
        if kind.startswith("Gather"):
            found.append("starts parallel workers")
        if kind in ("Sort", "Incremental Sort"):
            found.append(f"sorts by {node['Sort Key']}")
    return found


@pytest.fixture(scope="module")
def plans(postgres: PostgresServer) -> Plans:
    return blocking(lambda: planned(postgres.database()))


@pytest.mark.parametrize("tables", ["empty", "filled"])
@pytest.mark.parametrize("name", [name for name in statements() if name not in BY_DESIGN])
def test_statement_neither_walks_nor_sorts(plans: Plans, name: str, tables: str) -> None:
    assert faults(plans[tables][name], empty=tables == "empty") == [], plans[tables][name]


@pytest.mark.parametrize("name", BY_DESIGN)
def test_a_statement_that_does_would_be_noticed(plans: Plans, name: str) -> None:
    assert faults(plans["filled"][name])


@pytest.mark.parametrize("name", BY_DESIGN)
def test_no_statement_walks_a_table_without_an_index(plans: Plans, name: str) -> None:
    assert not any(fault.startswith("walks") and " along " not in fault for fault in faults(plans["filled"][name]))


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_each_other_condition_of_a_filter_is_one_look_up(plans: Plans, order: str) -> None:
    look_ups = [node for node in plans["filled"][f"filter_{order}_others"] if node.get("Alias", "").startswith("o")]
    assert len(look_ups) == len(OTHERS)
    for node in look_ups:
        condition = node["Index Cond"]
        assert all(f"({column} = " in condition for column in ("account", "name", "created_at", "id")), condition
