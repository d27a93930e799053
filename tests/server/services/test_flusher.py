from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import cast

import pytest
from tests.server.services.stage import until

from turnwise.server.channels.base import Feed
from turnwise.server.errors import Conflict, Unavailable
from turnwise.server.services.flusher import TEXTS_AT_ONCE, Flusher
from turnwise.server.services.turn import Turn
from turnwise.server.storage.journal import Flush, Journal, Place, Publication
from turnwise.server.storage.notices import Silence


class Paper:
    """A journal that keeps what it is given, and fails when it is told to."""

    def __init__(self) -> None:
        self.commits: list[list[Flush]] = []
        self.moments: list[float] = []
        """When they were asked for."""
        self.failures: list[Exception] = []
        self.lost: set[str] = set()
        self.cancelled: set[str] = set()
        self.looks = 0

    async def flush(self, flushes: Sequence[Flush]) -> tuple[Sequence[Place], Sequence[str]]:
        moment = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.commits.append(list(flushes))
        self.moments.append(moment)
        return [flush.place for flush in flushes if flush.place.turn_id in self.lost], []

    async def cancelled_turns(self, process_id: str) -> Sequence[str]:
        assert process_id == "p"
        self.looks += 1
        return list(self.cancelled)

    def text(self, turn_id: str) -> str:
        return "".join(flush.text for commit in self.commits for flush in commit if flush.place.turn_id == turn_id)


class Script:
    """What a turn says between two flushes."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)
        self.tokens = 0

    def __call__(self) -> tuple[str, int]:
        text = self.parts.pop(0) if self.parts else ""
        self.tokens += len(text)
        return text, self.tokens


class Said:
    """A feed that has something to publish each time."""

    def take(self) -> Publication | None:
        return Publication(account_id="a", channel_id="c", data=b"1", count=1, now=1)

    def close(self) -> None:
        """Nothing is open."""


def place(turn_id: str) -> Place:
    return Place(turn_id=turn_id, process_id="p", attempt=1)


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
async def flusher(paper: Paper) -> AsyncGenerator[Flusher, None]:
    flusher = Flusher(cast("Journal", paper), tick=0.01)
    yield flusher
    await flusher.close()


@contextmanager
def working(flusher: Flusher, turn_id: str, says: Callable[[], tuple[str, int]]) -> Generator[Turn]:
    """A turn that works until the context ends."""
    turn = Turn()
    turn.start(_for_ever())
    with flusher.watching(turn, place(turn_id), says):
        yield turn
    turn.abort("the test is over")


async def _for_ever() -> None:
    await asyncio.sleep(60)


async def test_what_all_turns_made_since_the_last_tick_is_one_commit(flusher: Flusher, paper: Paper) -> None:
    with working(flusher, "a", Script("One ", "", "two")), working(flusher, "b", Script("uno")):
        await until(lambda: paper.text("a") == "One two")
    assert [(flush.place.turn_id, flush.text, flush.tokens) for flush in paper.commits[0]] == [
        ("a", "One ", 4),
        ("b", "uno", 3),
    ]
    assert paper.commits[1][0].tokens == 7
    assert len(paper.commits) == 2


async def test_a_dispatched_turn_journals_its_events_and_not_its_text_as_well(flusher: Flusher, paper: Paper) -> None:
    with working(flusher, "a", Script("One")) as turn:
        turn.feed = cast("Feed", Said())
        await until(lambda: paper.commits)
    flush = paper.commits[0][0]
    assert flush.published is not None
    assert (flush.text, flush.tokens) == ("", 3)


async def test_texts_of_a_crowd_are_journaled_in_turn_and_none_is_left_out(flusher: Flusher, paper: Paper) -> None:
    with ExitStack() as crowd:
        turns = [f"turn {number}" for number in range(3 * TEXTS_AT_ONCE)]
        for turn_id in turns:
            crowd.enter_context(working(flusher, turn_id, Script("One ", "two")))
        with working(flusher, "dispatched", Script()) as dispatched:
            dispatched.feed = cast("Feed", Said())
            await until(lambda: all(paper.text(turn_id) == "One two" for turn_id in turns))
    texts = [sum(1 for flush in commit if flush.text) for commit in paper.commits]
    assert max(texts) == TEXTS_AT_ONCE
    assert texts[:6] == [TEXTS_AT_ONCE] * 6
    assert all(commit[-1].published is not None for commit in paper.commits[:6])


@pytest.mark.parametrize("heard, dispatched", [(True, True), (True, False), (False, True)])
async def test_what_may_be_read_in_another_process_is_journaled_more_often(
    paper: Paper, *, heard: bool, dispatched: bool
) -> None:
    class Others(Silence):
        @property
        def listening(self) -> bool:
            return heard

    flusher = Flusher(cast("Journal", paper), notices=Others(), tick=0.2)
    with working(flusher, "a", Script(*"many words")) as turn:
        turn.feed = cast("Feed", Said()) if dispatched else None
        await until(lambda: len(paper.commits) >= 5)
    await flusher.close()
    pauses = [later - earlier for earlier, later in pairwise(paper.moments)]
    assert (min(pauses) < 0.19) == (heard and dispatched), "a busy machine makes them longer, and none shorter"


async def test_a_turn_without_a_place_is_not_journaled(flusher: Flusher, paper: Paper) -> None:
    with flusher.watching(Turn(), None, Script("One")):
        await asyncio.sleep(0.04)
    assert paper.commits == []
    assert paper.looks == 0


async def test_a_flush_that_fails_is_tried_again_before_what_comes_after_it(flusher: Flusher, paper: Paper) -> None:
    paper.failures = [Unavailable("The disk is full.")] * 2
    with working(flusher, "a", Script("One ", "two ", "three")):
        await until(lambda: paper.text("a") == "One two three")
    flushed = [(flush.text, flush.again) for commit in paper.commits for flush in commit]
    assert flushed == [("One ", True), ("two ", False), ("three", False)]


async def test_a_flush_that_is_refused_is_dropped_and_the_next_ones_are_not(
    flusher: Flusher, paper: Paper, caplog: pytest.LogCaptureFixture
) -> None:
    paper.failures = [Conflict("The number was given out.")]
    with working(flusher, "a", Script("One ", "two")):
        await until(lambda: paper.commits)
    assert paper.text("a") == "two"
    assert "journaling failed" in caplog.text


async def test_a_turn_that_is_lost_ends_without_a_trace(flusher: Flusher, paper: Paper) -> None:
    paper.lost = {"a"}
    with working(flusher, "a", Script("One")) as lost, working(flusher, "b", Script("uno")) as other:
        assert lost.task is not None
        await asyncio.wait([lost.task], timeout=60)
        assert lost.lost
        assert lost.task.cancelled()
        assert not other.lost


async def test_a_turn_that_is_to_be_cancelled_hears_of_it_however_quiet_it_is(flusher: Flusher, paper: Paper) -> None:
    paper.cancelled = {"a", "of another process"}
    with working(flusher, "a", Script()) as turn:
        assert turn.task is not None
        await asyncio.wait([turn.task], timeout=60)
        assert (turn.cancelled, turn.abort_reason) == (True, "cancelled")
    assert paper.commits == []


async def test_it_rests_while_no_turn_runs_and_begins_anew(flusher: Flusher, paper: Paper) -> None:
    with working(flusher, "a", Script("One")):
        await until(lambda: paper.commits)
    await asyncio.sleep(0.03)
    looks = paper.looks
    await asyncio.sleep(0.05)
    assert paper.looks == looks
    with working(flusher, "b", Script("uno")):
        await until(lambda: paper.text("b"))


async def test_a_turn_that_was_adopted_again_is_watched_when_its_earlier_attempt_has_ended(
    flusher: Flusher, paper: Paper
) -> None:
    earlier = working(flusher, "a", Script())
    earlier.__enter__()
    with working(flusher, "a", Script("", "", "", "again")):
        earlier.__exit__(None, None, None)
        await until(lambda: paper.text("a") == "again")


async def test_a_feed_is_not_asked_for_more_before_what_it_gave_is_stored(flusher: Flusher, paper: Paper) -> None:
    takes: list[int] = []

    class Counting(Said):
        def take(self) -> Publication | None:
            takes.append(len(paper.failures))
            return super().take()

    paper.failures = [Unavailable("The disk is full.")] * 3
    with working(flusher, "a", Script()) as turn:
        turn.feed = cast("Feed", Counting())
        await until(lambda: len(paper.commits) > 1)
    assert takes[:2] == [3, 0]
