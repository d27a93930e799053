"""A model server whose models do what the suites' scripted ones do, for servers that are processes of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, cast

from tests.crash.worker import TASK, Pace, Worker
from tests.server.models.upstream import Request, Script, Step, Wait, calling, chunk, document, event, failure, reply

__all__ = ["MODELS", "Cast", "forecast"]

MODELS: Final = ("m", "echo", "thinks", "slow", "silent", "refuses", "breaks")

LONG: Final = 30.0
"""Seconds after which `slow` and `silent` speak, if they are still listened to."""


class Cast(Worker):
    """Each model is named after what it does; `m` sees what is wanted of it from what it is asked."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(pace)
        self._models = document({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}).wire()

    def answer(self, request: Request) -> Sequence[Step]:
        if request.path.endswith("/asked"):
            asked = [each.json() for each in self.requests]
            self.requests.clear()
            return document(asked).wire()
        if request.method != "POST":
            return self._models
        asked_for = request.json()
        messages = cast("list[dict[str, object]]", asked_for["messages"])
        match asked_for["model"]:
            case "echo":
                return reply("You ", "said: ", str(messages[-1]["content"])).wire()
            case "thinks":
                first = chunk(reasoning="Hm…")
                return Script([first, *reply("Grüße 😀").steps]).wire()
            case "slow":
                return Script([chunk("Well"), Wait(LONG), *reply(", yes").steps]).wire()
            case "silent":
                return Script([Wait(LONG), *reply("At last").steps]).wire()
            case "refuses":
                # Of this the server itself tells at once; it would wait for any other that is busy.
                return failure(
                    429, "The model is busy.", code="insufficient_quota", headers={"Retry-After": "7"}
                ).wire()
            case "breaks":
                error = {"error": {"message": "The model broke off.", "code": 502}}
                return Script([chunk("Half a"), event(error)]).wire()
            case _:
                return self._as_asked(request, messages)

    def _as_asked(self, request: Request, messages: Sequence[dict[str, object]]) -> Sequence[Step]:
        last = max(index for index, message in enumerate(messages) if message["role"] == "user")
        said = str(messages[last]["content"])
        results = [str(message["content"]) for message in messages[last:] if message["role"] == "tool"]
        if TASK.match(said):
            return super().answer(request)
        if said.startswith("[["):
            return called(said, results)
        if not said.startswith("How warm"):
            return reply("You said: ", said).wire()
        self.requests.append(request)
        return forecast(results)


def called(said: str, results: Sequence[str]) -> Sequence[Step]:
    """Call what was said, JSON of [[name, arguments], ...], and then tell the results."""
    if results:
        return reply(" ".join(results)).wire()
    wanted = cast("list[tuple[str, object]]", json.loads(said))
    return calling(*((name, json.dumps(arguments)) for name, arguments in wanted)).wire()


def forecast(results: Sequence[object]) -> Sequence[Step]:
    """Ask for the weather of two cities (and of one that is none), convert one, and say so."""
    if not results:
        cities = [("weather", json.dumps({"city": city})) for city in ("Oslo", "Rome", "Atlantis")]
        return calling(*cities, text="Let me see.").wire()
    if len(results) == 3:
        return calling(("convert", '{"celsius": 4}')).wire()
    return reply("39.2 in Oslo", ", and Rome ", "is warmer.").wire()
