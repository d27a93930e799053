from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.models.tokens import estimate_tokens


@pytest.mark.parametrize("text, tokens", [("", 0), ("a", 1), ("four", 1), ("a" * 400, 100), ("開" * 100, 100)])
def test_tokens_are_estimated_by_script(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.text(), st.text())
def test_more_text_is_never_fewer_tokens(one: str, other: str) -> None:
    assert estimate_tokens(one + other) >= max(estimate_tokens(one), estimate_tokens(other))
    assert (estimate_tokens(one) == 0) == (one == "")
