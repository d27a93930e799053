# ruff: noqa: RUF001 - the marks of other scripts are meant
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stalls import Stalls

from turnwise.server.retrieval.base import Passage
from turnwise.server.retrieval.bm25 import LARGE, Bm25Retriever, rank, tokenize


def found(query: str, *texts: str, limit: int = 10) -> list[str]:
    return [match.passage.text for match in rank(query, [Passage(text) for text in texts], limit=limit)]


def test_a_rare_word_outweighs_a_common_one() -> None:
    texts = ["the shop sells bread", "the shop sells cake", "the shop sells bread and honey"]
    assert found("honey in the shop", *texts)[0] == "the shop sells bread and honey"


def test_a_short_passage_beats_a_long_one_with_the_same_word() -> None:
    assert found("bread", "bread " + "and many other things " * 5, "fresh bread")[0] == "fresh bread"


def test_what_shares_nothing_is_not_found() -> None:
    assert found("zebra", "fresh bread", "cold milk") == []
    assert found("", "fresh bread") == []
    assert found("bread") == []


def test_equals_keep_their_order_and_the_limit_holds() -> None:
    assert found("bread", "bread a1", "bread a2", "bread a3", limit=2) == ["bread a1", "bread a2"]


def test_context_is_searched_and_weight_decides() -> None:
    passages = [Passage("Yes.", context="Do you deliver?"), Passage("deliver", weight=0.1)]
    assert [match.passage.text for match in rank("deliver", passages, limit=2)] == ["Yes.", "deliver"]


def test_stop_words_count_only_where_there_are_no_others() -> None:
    assert found("who are you", "you are here", "bread") == ["you are here"]
    assert found("who are you bread", "you are here", "bread") == ["bread"]


@pytest.mark.parametrize(
    "one, other",
    [
        ("closing", "closes"),
        ("close", "closed"),
        ("hours", "hour"),
        ("shipping", "ship"),
        ("deliveries", "delivery"),
        ("prices", "price"),
        ("Café", "CAFE"),
        ("ｆｕｌｌ", "full"),
        ("Straße", "STRASSE"),
    ],
)
def test_forms_of_a_word_meet(one: str, other: str) -> None:
    assert tokenize(one) == tokenize(other)


@pytest.mark.parametrize("one, other", [("bus", "bush"), ("address", "add"), ("thing", "th")])
def test_other_words_stay_apart(one: str, other: str) -> None:
    assert tokenize(one) != tokenize(other)


def test_scripts_without_spaces_are_pairs_of_characters() -> None:
    assert tokenize("開門時間 9") == ["開門", "門時", "時間", "9"]
    assert tokenize("門") == ["門"]
    assert tokenize("खुलते हैं") == ["खुलते", "हैं"]


def test_a_word_that_occurs_nowhere_stands_for_those_that_begin_like_it() -> None:
    assert found("öffnet", "Wir öffnen um 9.", "Das Amt ist weit.") == ["Wir öffnen um 9."]
    assert found("computer", "Our company is old.") == []


async def test_much_text_is_searched_without_holding_up_the_loop(stalls: Stalls) -> None:
    passages = [Passage(f"sentence number {number} about bread") for number in range(LARGE // 20)]
    began = time.monotonic()
    (match,) = await Bm25Retriever().search("1234", passages, limit=1)
    assert match.passage.text == "sentence number 1234 about bread"
    assert time.monotonic() - began < 5 + stalls.allowance


@given(st.text(), st.lists(st.text()), st.integers(0, 5))
def test_any_text_is_survived_and_scores_descend(query: str, texts: list[str], limit: int) -> None:
    matches = rank(query, [Passage(text) for text in texts], limit=limit)
    scores = [match.score for match in matches]
    assert len(matches) <= limit
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
