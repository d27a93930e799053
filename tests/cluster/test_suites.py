"""The suites of both clients pass against three processes on PostgreSQL of which one is killed every five seconds.

Each suite is run whole, again and again, until enough were killed. What each client was told is then held against what
the database has. With `TURNWISE_TEST_FULL=1` it takes minutes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.cluster.aftermath import check
from tests.cluster.members import cluster
from tests.cluster.suites import Rounds
from tests.crash.scene import FULL
from tests.crash.worker import Pace
from tests.server.postgres import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

logger = logging.getLogger(__name__)
"""Figures: `pytest --log-cli-level=INFO` shows them."""

KILLS = 24 if FULL else 4
"""How many processes are killed at least."""

FEWER = 6 if FULL else 1
"""Likewise, for the one test that wants servers of its own."""

OWN = ("tests/client/test_against_server.py", "tests/client/test_run.py")
NODE = ("tests/node/test_node_client.py", "tests/node/test_agent.py")
IMPATIENT = "test_a_reply_that_waits_too_long_for_the_one_before_it_is_409"
SUITES = {"our client": (*OWN, "-k", f"not {IMPATIENT}"), "Node client": NODE}


async def test_both_clients_whole_suites_pass_while_one_of_three_processes_is_killed_every_five_seconds(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    await suites_pass(postgres.database(), tmp_path, SUITES, KILLS)


@pytest.mark.skipif(not FULL, reason="with TURNWISE_TEST_FULL=1 only: the same as above, with nginx in between")
async def test_both_suites_pass_behind_nginx_as_the_page_on_deployment_configures_it(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    await suites_pass(postgres.database(), tmp_path, SUITES, KILLS // 2, nginx=True)


async def test_a_reply_waits_no_longer_than_it_is_told_to_while_processes_are_killed(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """The one test of the suites that sees how long a reply waits: its servers' patience is less than five seconds."""
    suites = {"our client, impatient": (*OWN, "-k", IMPATIENT)}
    await suites_pass(postgres.database(), tmp_path, suites, FEWER, {"TURNWISE_TURN_TIMEOUT": "1"})


async def suites_pass(
    database: str,
    folder: Path,
    suites: Mapping[str, Sequence[str]],
    kills: int,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    nginx: bool = False,
) -> None:
    """Run suites side by side, each again and again, until so many processes were killed."""
    async with cluster(folder, database, settings, pace=Pace(), nginx=nginx) as running:
        rounds = [Rounds(running, name, suite) for name, suite in suites.items()]
        began = time.monotonic()
        async with running.killing() as killer, asyncio.TaskGroup() as group:
            for each in rounds:
                group.create_task(each.until(killer, kills))
        logger.info(
            "%s; %d kills in %.0f s, %d requests, %d cut",
            *("; ".join(map(str, rounds)), killer.count, time.monotonic() - began),
            *(len(running.balancer.exchanges), len(running.balancer.cut)),
        )
        repeated = [again for each in rounds for again in each.repeated]
        for again in repeated:
            logger.info("done again: %s: %s", again["name"], again["reason"])
        assert len(repeated) <= killer.count * len(suites)
        await check(running)
