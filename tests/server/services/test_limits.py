from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.services.limits import Ceilings
from turnwise.types._base import OMIT, Omit
from turnwise.types.extension import Limits


@pytest.mark.parametrize("limits", [None, OMIT, Limits(), Limits(iterations=None, calls=None)])
def test_without_limits_of_a_request_the_servers_hold(limits: Limits | None | Omit) -> None:
    assert Ceilings().within(limits) == Ceilings(iterations=25, continuations=0, calls=100)


def test_a_request_lowers_what_it_names() -> None:
    assert Ceilings().within(Limits(iterations=3)) == Ceilings(iterations=3, continuations=0)
    assert Ceilings().within(Limits(continuations=1, calls=7)) == Ceilings(continuations=1, calls=7)


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 1000))
def test_a_request_never_raises_a_ceiling(iterations: int, continuations: int, calls: int) -> None:
    bounds = Ceilings().within(Limits(iterations=iterations, continuations=continuations, calls=calls))
    assert bounds == Ceilings(
        iterations=min(25, iterations), continuations=min(5, continuations), calls=min(100, calls)
    )
