"""Measuring on a machine that is never quiet: contenders alternate, medians of ratios are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.report import Bound, Figure, Line, Skipped

__all__ = ["Samples", "alternate", "beside", "beside_node", "per_second", "rate"]


@dataclass(frozen=True, slots=True)
class Samples:
    """What each contender measured, one value a round."""

    values: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return median(self.values[name])

    def ratio(self, name: str, other: str) -> float:
        """The median over the rounds of `name` divided by `other`."""
        pairs = zip(self.values[name], self.values[other], strict=True)
        return median(mine / theirs for mine, theirs in pairs)


def alternate(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, at_most: float = 60.0, warm: bool = True
) -> Samples:
    """Let every contender measure once a round, each round begun by another one.

    Each is run once before, unmeasured. No new round begins after `at_most` seconds, but three are always made.
    """
    names = list(contenders)
    if warm:
        for name in names:
            contenders[name]()
    values: dict[str, list[float]] = {name: [] for name in names}
    begun = time.monotonic()
    for turn in range(rounds):
        if turn >= 3 and time.monotonic() - begun > at_most:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(contenders[name]())
    return Samples(values)


def per_second(count: int, call: Callable[[], object]) -> float:
    """Return the calls a second of `count` calls, one after another."""
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return count / (time.perf_counter() - begin)


def rate(value: float, unit: str) -> str:
    """Write a rate so that it is read at a glance."""
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.2f} {unit}"


def beside(samples: Samples, other: str, *, row: str, unit: str, bound: Bound | None) -> Figure:
    """Return the line that sets the rate of `ours` beside that of `other`."""
    return Figure(
        row=f"{row} / {other}",
        ours=rate(samples.median("ours"), unit),
        other=f"{other} {rate(samples.median(other), unit)}",
        value=samples.ratio("ours", other),
        bound=bound,
    )


def beside_node(samples: Samples, node: str, *, row: str, unit: str, bound: Bound | None) -> Line:
    """Likewise for the Node client; where it did not take part, `node` says why."""
    if node not in samples.values:
        return Skipped(f"{row} / Node client", node)
    return beside(samples, node, row=row, unit=unit, bound=bound)
