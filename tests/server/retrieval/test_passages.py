# ruff: noqa: RUF001 - the marks of other scripts are meant
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.retrieval.base import Passage
from turnwise.server.retrieval.passages import passages_of, sentences_of


@pytest.mark.parametrize(
    "text, sentences",
    [
        ("We open at 9. We close at 6!", ["We open at 9.", "We close at 6!"]),
        ("We open at 9 a.m. on weekdays. Come!", ["We open at 9 a.m. on weekdays.", "Come!"]),
        ("Ask Dr. Miller. It costs 4.50 euros.", ["Ask Dr. Miller.", "It costs 4.50 euros."]),
        ('She said "Come in." Then she left.', ['She said "Come in."', "Then she left."]),
        ("- bread\n* cake\n3. tea", ["bread", "cake", "tea"]),
        ("九点开门。六点关门！好", ["九点开门。", "六点关门！", "好"]),
        ("A bis 9 h. Le soir.", ["A bis 9 h.", "Le soir."]),
        ("Really?! Yes... maybe.", ["Really?!", "Yes... maybe."]),
        ("", []),
        (" \n\t\n", []),
    ],
)
def test_text_is_split_into_sentences(text: str, sentences: list[str]) -> None:
    assert sentences_of(text) == sentences


def test_headings_and_questions_are_context_of_what_follows() -> None:
    text = "Intro.\n# Prices\nBread: 4.\n\nQ: Do you deliver?\nA: Yes. Daily.\nHours:\n9 to 5"
    assert passages_of(text, weight=0.5) == [
        Passage("Intro.", "", 0.5),
        Passage("Bread: 4.", "# Prices", 0.5),
        Passage("Yes.", "Do you deliver?", 0.5),
        Passage("Daily.", "# Prices", 0.5),
        Passage("9 to 5", "Hours:", 0.5),
    ]


@given(st.text())
def test_no_character_but_space_and_marks_is_made_up(text: str) -> None:
    for sentence in sentences_of(text):
        assert sentence in text
