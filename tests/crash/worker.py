"""A model that works: it says something, calls two functions, then answers. What it is told says how long it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from tests.server.models.upstream import DONE, FakeUpstream, Request, Script, Step, Wait, calls, chunk, piece, usage

TASK = re.compile(r"work (\d+)")


@dataclass(frozen=True)
class Pace:
    """How the model speaks."""

    first: int = 10
    """Words before it calls."""
    words: int = 20
    """Words of its answer."""
    delay: float = 0.03
    """Seconds before each word."""

    @property
    def seconds(self) -> float:
        """How long a task takes at least."""
        return (self.first + self.words) * self.delay


class Worker(FakeUpstream):
    """Works on `work NUMBER`, and answers everything else with a word."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(Script(()))
        self.pace = pace

    def answer(self, request: Request) -> Sequence[Step]:
        if request.method != "POST":
            return super().answer(request)
        self.asked.set()
        messages = cast("list[dict[str, object]]", request.json()["messages"])
        last = max(index for index, message in enumerate(messages) if message["role"] == "user")
        found = TASK.match(str(messages[last]["content"]))
        if found is None:
            return Script([chunk("pong"), chunk(finish="stop"), usage(7, 3), DONE]).wire()
        number = int(found.group(1))
        if any(message["role"] == "tool" for message in messages[last:]):
            return self._words(answer_of(number, self.pace), [chunk(finish="stop")])
        return self._words(
            preface_of(number, self.pace),
            [
                calls(piece(f'{{"number": {number}}}', name="weigh", id="call_1", index=0)),
                calls(piece(f'{{"number": {number}}}', name="price", id="call_2", index=1)),
                chunk(finish="tool_calls"),
            ],
        )

    def _words(self, text: str, end: Sequence[bytes]) -> list[Step]:
        steps: list[Step] = []
        for word in text.split(" "):
            steps += [Wait(self.pace.delay), chunk(word if word == text.split(" ", 1)[0] else f" {word}")]
        return Script([*steps, *end, usage(7, 3), DONE]).wire()


def preface_of(number: int, pace: Pace) -> str:
    """Return what is said before the calls."""
    return " ".join(f"look{number}.{index}" for index in range(pace.first))


def answer_of(number: int, pace: Pace) -> str:
    """Return what is said after them."""
    return " ".join(f"done{number}.{index}" for index in range(pace.words))
