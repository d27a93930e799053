"""What one subject used, and what that leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.services.use import (
    MESSAGES,
    REQUESTS,
    SHARE,
    TOKENS,
    TURNS,
    Allowance,
    Holder,
    Use,
    Verdict,
)
from turnwise.server.storage.rates import PERIOD_MS, PERIODS, Tally

ALLOWED = Allowance(requests=160, messages=10, tokens=100, turns=3)
START = 1000


def use(*, processes: int = 1) -> Use:
    return Use("someone", Holder.ACCOUNT, ALLOWED, period=START, processes=processes)


def exchanged(found: Use, *others: Tally, turns: int = 0, processes: int = 1) -> list[Tally]:
    """Tell the others, and read what they say."""
    tallies, sent = found.tallies()
    found.read(others, turns, sent=sent, processes=processes, moment=0.0)
    return tallies


def test_what_was_counted_leaves_so_much_less() -> None:
    found = use()
    found.add(MESSAGES, 4)
    assert (found.left(MESSAGES), found.left(REQUESTS)) == (6, 160)
    assert found.verdict(MESSAGES, 6, alone=True) is Verdict.YES
    assert found.verdict(MESSAGES, 7, alone=True) is Verdict.NO


def test_more_at_once_than_the_limit_has_room_where_nothing_was_counted() -> None:
    found = use()
    assert found.verdict(MESSAGES, 11, alone=True) is Verdict.YES
    found.add(MESSAGES, 1)
    assert found.verdict(MESSAGES, 11, alone=True) is Verdict.NO


def test_a_turn_begins_as_long_as_any_token_is_left() -> None:
    found = use()
    found.add(TOKENS, 99)
    assert found.verdict(TOKENS, 0, alone=True) is Verdict.YES
    found.add(TOKENS, 5000)
    assert found.verdict(TOKENS, 0, alone=True) is Verdict.NO
    assert found.left(TOKENS) == 0


def test_zero_is_without_limit() -> None:
    found = Use("someone", Holder.SESSION, Allowance(requests=1), period=START, processes=1)
    found.add(MESSAGES, 10**9)
    assert found.verdict(MESSAGES, 10**9, alone=False) is Verdict.YES


def test_what_was_counted_counts_for_sixty_seconds_and_no_more_than_sixty_five() -> None:
    found = use()
    found.add(MESSAGES, 10)
    found.roll(START + PERIODS - 1)  # between 55 and 65 seconds later
    assert found.verdict(MESSAGES, 1, alone=True) is Verdict.NO
    found.roll(START + PERIODS)
    assert found.left(MESSAGES) == 10
    assert PERIOD_MS * (PERIODS - 1) == 60_000


def test_it_says_when_enough_has_left() -> None:
    found = use()
    found.add(MESSAGES, 4)
    found.roll(START + 3)
    found.add(MESSAGES, 6)
    now = (START + 3) * PERIOD_MS + 1000
    assert found.wait(MESSAGES, 4, now) == (PERIODS - 3) * 5 - 1
    assert found.wait(MESSAGES, 5, now) == PERIODS * 5 - 1
    found.roll(START + PERIODS)
    assert found.verdict(MESSAGES, 4, alone=True) is Verdict.YES
    assert found.verdict(MESSAGES, 5, alone=True) is Verdict.NO


def test_turns_count_while_they_run_however_long() -> None:
    found = use()
    for _ in range(3):
        found.add(TURNS, 1)
    found.roll(START + 10 * PERIODS)
    assert found.verdict(TURNS, 1, alone=True) is Verdict.NO
    found.take_back(TURNS, 1, START)
    assert found.verdict(TURNS, 1, alone=True) is Verdict.YES


def test_what_is_given_back_counts_no_more_and_is_told() -> None:
    found = use()
    found.add(MESSAGES, 3)
    exchanged(found)
    found.take_back(MESSAGES, 3, START)
    assert found.left(MESSAGES) == 10
    assert exchanged(found) == [Tally(subject="someone", period=START)]


def test_what_is_given_back_after_it_counts_no_more_changes_nothing() -> None:
    found = use()
    found.add(MESSAGES, 3)
    found.roll(START + PERIODS)
    found.take_back(MESSAGES, 3, START)
    assert found.left(MESSAGES) == 10


def test_others_counts_and_turns_are_added_to_ones_own() -> None:
    found = use()
    found.add(MESSAGES, 2)
    exchanged(found, Tally(subject="someone", period=START - 2, messages=5), turns=2)
    found.add(TURNS, 1)
    assert (found.left(MESSAGES), found.left(TURNS)) == (3, 0)
    found.roll(START - 2 + PERIODS)
    assert found.left(MESSAGES) == 8


def test_each_period_that_changed_is_told_as_a_whole_and_once() -> None:
    found = use()
    found.add(REQUESTS, 2)
    assert exchanged(found) == [Tally(subject="someone", period=START, requests=2)]
    assert exchanged(found) == []
    found.add(REQUESTS, 1)
    found.roll(START + 1)
    found.add(TURNS, 1)
    told = sorted(exchanged(found), key=lambda tally: tally.period)
    assert told == [
        Tally(subject="someone", period=START, requests=3, turns=1),
        Tally(subject="someone", period=START + 1, turns=1),
    ]


def test_what_could_not_be_told_is_told_again() -> None:
    found = use()
    found.add(REQUESTS, 2)
    tallies, _ = found.tallies()
    found.untold(tallies)
    assert exchanged(found) == tallies


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_a_process_that_is_not_alone_asks_before_it_lets_its_share_of_what_is_left_through(processes: int) -> None:
    found = use(processes=processes)
    share = 160 // (SHARE * processes)
    for _ in range(share):
        assert found.verdict(REQUESTS, 1, alone=False) is Verdict.YES
        found.add(REQUESTS, 1)
    assert found.verdict(REQUESTS, 1, alone=False) is Verdict.ASK
    assert found.verdict(REQUESTS, 1, alone=True) is Verdict.YES
    exchanged(found, Tally(subject="someone", period=START, requests=160 - share - 1), processes=processes)
    assert found.verdict(REQUESTS, 1, alone=False) is Verdict.YES
    found.add(REQUESTS, 1)
    assert found.verdict(REQUESTS, 1, alone=False) is Verdict.NO


def test_what_was_counted_while_the_others_were_asked_is_still_unknown_to_them() -> None:
    found = use(processes=20)
    found.add(REQUESTS, 1)
    _, sent = found.tallies()
    found.add(REQUESTS, 1)
    found.read((), 0, sent=sent, processes=20, moment=0.0)
    assert found.verdict(REQUESTS, 1, alone=False) is Verdict.ASK


COUNTED = st.tuples(st.sampled_from((REQUESTS, MESSAGES, TOKENS)), st.integers(1, 12), st.booleans())
BETWEEN = st.one_of(
    COUNTED,
    st.sampled_from(("exchange", "period", "give back", "turn")),
)


@given(st.lists(BETWEEN, max_size=40), st.integers(1, 4))
def test_counting_in_one_step_is_asking_and_adding_whenever_it_is_done(
    steps: list[tuple[int, int, bool] | str], processes: int
) -> None:
    one_step, two_steps = use(processes=processes), use(processes=processes)
    told: list[list[Tally]] = [[], []]
    for step in steps:
        for found, tallies in ((one_step, told[0]), (two_steps, told[1])):
            match step:
                case "exchange":
                    others = Tally(subject="someone", period=found.period, requests=7, messages=1)
                    tallies.extend(
                        sorted(exchanged(found, others, processes=processes), key=lambda tally: tally.period)
                    )
                case "period":
                    found.roll(found.period + 1)
                case "give back":
                    found.take_back(MESSAGES, 1, found.period)
                case str():
                    found.add(TURNS, 1)
                case kind, count, alone:
                    done = found is one_step and found.count(kind, count, alone=alone)
                    if not done and found.verdict(kind, count, alone=alone) is Verdict.YES:
                        found.add(kind, count)
        assert (one_step.used, one_step.unsent, one_step.dirty) == (two_steps.used, two_steps.unsent, two_steps.dirty)
    assert exchanged(one_step) == exchanged(two_steps)
    assert told[0] == told[1]


def test_counting_in_one_step_is_what_all_but_the_first_of_a_period_need() -> None:
    found = use()
    assert not found.count(MESSAGES, 1, alone=True)
    found.add(MESSAGES, 1)
    assert [found.count(MESSAGES, 3, alone=True) for _ in range(4)] == [True, True, True, False]
    exchanged(found)
    assert not found.count(REQUESTS, 1, alone=True)  # the others are to be told of it first


def test_it_is_idle_once_nothing_counts_and_everything_is_told() -> None:
    found = use()
    assert found.idle
    found.add(REQUESTS, 1)
    found.add(TURNS, 1)
    exchanged(found)
    found.roll(START + PERIODS)
    assert not found.idle
    found.take_back(TURNS, 1, START)
    assert not found.idle
    exchanged(found)
    assert found.idle
