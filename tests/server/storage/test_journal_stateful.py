"""Whatever processes do, and whenever they die: no turn is lost, doubled, or written by one that lost it.

Every rule is run against a storage and against a model of lists and dictionaries. Places are never forgotten:
a rule may write from any place there ever was, as a process does that was frozen and thawed. The model knows which
writes must be refused.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from tests.server.postgres import PostgresServer
from tests.server.storage.planted import HELD, plant
from tests.server.storage.scene import (
    HOUR,
    START,
    Adapter,
    PostgresAdapter,
    SqliteAdapter,
    StillClock,
    conversation,
    message,
    new_turn,
    published,
)

from turnwise.server.storage.base import Account, Exchange, MessageQuery
from turnwise.server.storage.jobs.turns import SQL
from turnwise.server.storage.journal import Busy, Flush, JournaledStorage, Place, Publication, TurnLost
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.server.storage.writer import Connect, GroupWriter

ME = "account-me"
NO_PLACE = cast("Any", multiple())
SLOTS = st.integers(min_value=0, max_value=2)
WHICH = st.integers(min_value=0, max_value=1)
KINDS = st.sampled_from(["complete", "receive"])
WORDS = st.sampled_from(["", "one ", "two ", "three "])
ENDS = st.sampled_from(["done", "aborted", "failed"])


@dataclass
class Turn:
    """What the model knows of a turn."""

    id: str
    kind: str
    owner: str
    conversation: str | None
    channel: str | None
    state: str
    attempt: int = 1
    message: bool = False
    text: str = ""
    steps: bytes | None = None
    tokens: int = 0
    cancelled: bool = False

    @property
    def unfinished(self) -> bool:
        return self.state in {"waiting", "running"}


@dataclass
class Model:
    """What must be on disk."""

    alive: set[str] = field(default_factory=set[str])
    turns: dict[str, Turn] = field(default_factory=dict[str, Turn])
    texts: dict[str, list[tuple[str, bool]]] = field(default_factory=dict[str, list[tuple[str, bool]]])
    """Messages by conversation: text, and whether it was interrupted."""
    lines: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def holds(self, place: Place) -> bool:
        turn = self.turns[place.turn_id]
        return (
            turn.unfinished
            and (turn.owner, turn.attempt) == (place.process_id, place.attempt)
            and place.process_id in self.alive
        )

    def blocking(self, conversation_id: str | None) -> Turn | None:
        running = [
            turn for turn in self.turns.values() if turn.conversation == conversation_id and turn.state == "running"
        ]
        assert len(running) <= 1
        return running[0] if running and conversation_id is not None else None

    def busy(self, conversation_id: str, turn: Turn | None = None) -> bool:
        """Settle a dead turn that is in the way, or say that a living one is, or one that came before `turn`."""
        if turn is not None and turn.state == "running":
            return False
        if self.line(conversation_id, turn):
            return True
        blocking = self.blocking(conversation_id)
        if blocking is not None and (blocking.kind == "dispatch" or blocking.owner in self.alive):
            return True
        if blocking is not None:
            self.interrupt(blocking)
        return False

    def line(self, conversation_id: str | None, before: Turn | None = None) -> list[Turn]:
        """Return the turns that wait whose processes live."""
        waiting = [
            turn for turn in self.turns.values() if (turn.conversation, turn.state) == (conversation_id, "waiting")
        ]
        until = waiting.index(before) if before is not None else None
        return [turn for turn in waiting[:until] if turn.owner in self.alive]

    def interrupt(self, turn: Turn) -> None:
        if turn.text and turn.conversation is not None:
            self.texts[turn.conversation].append((turn.text, True))
        self.end(turn, "interrupted")

    def end(self, turn: Turn, state: str) -> None:
        turn.state, turn.text, turn.steps = state, "", None

    def lapsed(self) -> list[Turn]:
        return [turn for turn in self.turns.values() if turn.unfinished and turn.owner not in self.alive]


def hasty(connect: Connect) -> GroupWriter:
    """Return a writer that does not wait for the disk: what survives a power cut is another test's question."""

    def connection() -> sqlite3.Connection:
        made = connect()
        made.execute("PRAGMA synchronous = OFF")
        return made

    return GroupWriter(connection)


class Journaling(RuleBasedStateMachine):
    """Three processes, two conversations, and whatever becomes of them."""

    places: Bundle[Place] = Bundle("places")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.adapter, self.storages = self.made()
        self.model = Model()
        self.processes = ["", "", ""]
        self.conversations: list[str] = []
        self.count = 0
        self.each(lambda storage: storage.open())

    def made(self) -> tuple[Adapter, list[JournaledStorage]]:
        adapter = SqliteAdapter(self.folder / "t.db")
        return adapter, [SqliteStorage(adapter.path, clock=StillClock(), writer=hasty) for _ in range(2)]

    @property
    def storage(self) -> JournaledStorage:
        """One of two storages on the same database, the other one each time: as if each step were another process's."""
        self.storages.reverse()
        return self.storages[0]

    def each(self, doing: Callable[[JournaledStorage], Coroutine[Any, Any, None]]) -> None:
        for storage in self.storages:
            self.runner.run(doing(storage))

    def teardown(self) -> None:
        self.each(lambda storage: storage.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def do(self, doing: Any, expected: type[Exception] | None = None) -> Any:
        """Return what storage answered; check that it refused what the model refuses."""
        try:
            answer = self.runner.run(doing)
        except (Busy, TurnLost) as error:
            assert type(error) is expected  # noqa: PT017 - which refusal, or none, is the question
            return None
        assert expected is None
        return answer

    def new(self, word: str) -> str:
        """Return a text that was never used."""
        self.count += 1
        return f"{word}{self.count} "

    # Processes

    @initialize()
    def begin(self) -> None:
        self.do(self.storage.ensure_account(Account(ME, "me"), now=START))
        for _ in range(2):
            given = conversation()
            self.do(self.storage.create_conversation(ME, given, []))
            self.conversations.append(given.id)
            self.model.texts[given.id] = []
        for slot in range(3):
            self.register(slot, again=False)

    @rule(slot=SLOTS, again=st.booleans())
    def register(self, slot: int, again: bool) -> None:
        """Begin a lease, under an id of its own or under the one of before."""
        id_ = self.processes[slot] if again else self.new("process-").strip()
        if id_ in self.model.alive:
            return
        self.processes[slot] = id_
        self.begin_lease(id_)

    def begin_lease(self, id_: str) -> None:
        self.do(self.storage.register_process(id_, lease_ms=HOUR))
        for turn in self.model.turns.values():
            if turn.unfinished and turn.owner == id_:
                turn.owner = ""
        self.model.alive.add(id_)

    @rule(slot=SLOTS)
    def lapse(self, slot: int) -> None:
        self.adapter.lapse(self.processes[slot])
        self.model.alive.discard(self.processes[slot])

    @rule(target=places, which=st.integers(min_value=0, max_value=9), succeeded=st.booleans(), ends=st.booleans())
    def thaw(self, which: int, succeeded: bool, ends: bool) -> Any:
        """Be frozen in a turn for longer than the lease lasts, and go on as if nothing had been.

        Meanwhile another process may have begun under the same id, and claimed what was left behind.
        """
        held = [turn for turn in self.model.turns.values() if turn.unfinished and turn.owner in self.model.alive]
        if not held:
            return NO_PLACE
        turn = held[which % len(held)]
        place = Place(turn_id=turn.id, process_id=turn.owner, attempt=turn.attempt)
        self.adapter.lapse(place.process_id)
        self.model.alive.discard(place.process_id)
        adopted: Any = NO_PLACE
        if succeeded:
            self.begin_lease(place.process_id)
            adopted = self.claim_for(place.process_id, limit=100)
        if ends:
            self.settle(place, "done")
        else:
            self.step(place)
        return adopted

    @rule(slot=SLOTS)
    def leave(self, slot: int) -> None:
        self.do(self.storage.leave_process(self.processes[slot]))
        self.model.alive.discard(self.processes[slot])

    @rule(slot=SLOTS)
    def renew(self, slot: int) -> None:
        renewed = self.do(self.storage.renew_process(self.processes[slot], lease_ms=HOUR))
        assert renewed == (self.processes[slot] in self.model.alive)

    @rule(slot=SLOTS, running=st.booleans())
    def hand_over(self, slot: int, running: bool) -> None:
        self.do(self.storage.hand_over(self.processes[slot], running=running))
        for turn in self.model.turns.values():
            if turn.unfinished and (turn.kind, turn.owner) == ("dispatch", self.processes[slot]):
                turn.owner = "" if running or turn.state == "waiting" else turn.owner

    @rule(target=places, slot=SLOTS, limit=st.sampled_from([1, 2, 100]), waiting=st.booleans())
    def claim(self, slot: int, limit: int, waiting: bool) -> Any:
        return self.claim_for(self.processes[slot], limit, waiting=waiting)

    def claim_for(self, id_: str, limit: int, *, waiting: bool = True) -> Any:
        claimed = self.do(self.storage.claim_lapsed(id_, limit=limit, now=START, waiting=waiting))
        adopted: list[Place] = []
        lapsed = [
            turn
            for turn in self.model.lapsed()
            if waiting or turn.cancelled or (turn.kind, turn.state) != ("dispatch", "waiting")
        ]
        while lapsed and not adopted and id_ in self.model.alive:
            for turn in lapsed[:limit]:
                if turn.kind == "dispatch":
                    turn.owner, turn.attempt = id_, turn.attempt + 1
                    adopted.append(Place(turn_id=turn.id, process_id=id_, attempt=turn.attempt))
                else:
                    self.model.interrupt(turn)
            del lapsed[:limit]
        assert [(turn.id, turn.process_id, turn.attempt) for turn in claimed] == [
            (place.turn_id, place.process_id, place.attempt) for place in adopted
        ]
        if limit == 100 and waiting and id_ in self.model.alive:
            assert self.model.lapsed() == []
        return multiple(*adopted)

    @rule()
    def restart(self) -> None:
        self.each(lambda storage: storage.close())
        self.each(lambda storage: storage.open())

    # Turns

    @rule(target=places, slot=SLOTS, which=WHICH, kind=KINDS)
    def start(self, slot: int, which: int, kind: Any) -> Any:
        id_, owner = self.conversations[which], self.processes[slot]
        expected: type[Exception] | None = None
        if owner not in self.model.alive:
            expected = TurnLost
        elif self.model.busy(id_):
            expected = Busy
        turn, said = new_turn(owner, conversation_id=id_, kind=kind), self.new("user-")
        start = self.do(self.storage.start_turn(turn, message(said), recent=3), expected)
        if expected is not None:
            return NO_PLACE
        self.model.texts[id_].append((said, False))
        assert [item.text for item in start.history] == [text for text, _ in self.model.texts[id_][-3:]]
        self.model.turns[turn.id] = Turn(turn.id, kind, owner, id_, None, "running", message=True)
        return Place(turn_id=turn.id, process_id=owner, attempt=1)

    @rule(target=places, slot=SLOTS, which=WHICH | st.none(), kind=st.sampled_from(["complete", "dispatch"]))
    def queue(self, slot: int, which: int | None, kind: Any) -> Any:
        id_, owner = None if which is None else self.conversations[which], self.processes[slot]
        kind = kind if which is not None else "dispatch"
        channel = self.new("channel-") if kind == "dispatch" else None
        turn = new_turn(owner, conversation_id=id_, channel_id=channel, kind=kind)
        expected = None if owner in self.model.alive else TurnLost
        self.do(self.storage.queue_turn(turn), expected)
        if expected is not None:
            return NO_PLACE
        self.model.turns[turn.id] = Turn(turn.id, kind, owner, id_, channel, "waiting")
        if channel is not None:
            self.model.lines[channel] = []
        return Place(turn_id=turn.id, process_id=owner, attempt=1)

    @rule(place=places)
    def run(self, place: Place) -> None:
        """Let a turn run that waits."""
        turn = self.model.turns[place.turn_id]
        expected: type[Exception] | None = None if self.model.holds(place) else TurnLost
        if turn.conversation is None:
            self.do(self.storage.run_stateless(place, now=START), expected)
        else:
            if expected is None and self.model.busy(turn.conversation, turn):
                expected = Busy
            said = self.new("user-")
            start = self.do(self.storage.resume_turn(place, message(said), recent=3, now=START), expected)
            if expected is None:
                if not turn.message:
                    self.model.texts[turn.conversation].append((said, False))
                turn.message = True
                assert [item.text for item in start.history] == [
                    text for text, _ in self.model.texts[turn.conversation][-3:]
                ]
        if expected is None:
            turn.state = "running"

    @rule()
    def look_at_the_line(self) -> None:
        """Those who need not wait are those whom `run` lets run."""
        waiting = [turn for turn in self.model.turns.values() if turn.state == "waiting" and turn.conversation]
        first: list[str] = []
        for turn in waiting:
            running = self.model.blocking(turn.conversation)
            dead = running is None or (running.kind != "dispatch" and running.owner not in self.model.alive)
            if dead and not self.model.line(turn.conversation, turn):
                first.append(turn.id)
        assert sorted(self.do(self.storage.first_of([turn.id for turn in waiting]))) == sorted(first)

    @rule(place=places)
    def leave_line(self, place: Place) -> None:
        self.do(self.storage.leave_line(place))
        turn = self.model.turns[place.turn_id]
        if (turn.state, turn.owner, turn.attempt) == ("waiting", place.process_id, place.attempt):
            turn.state = "gone"

    @rule(items=st.lists(st.tuples(places, WORDS), min_size=1, max_size=3, unique_by=lambda item: item[0].turn_id))
    def flush(self, items: Sequence[tuple[Place, str]]) -> None:
        flushes: list[Flush] = []
        lost: list[Place] = []
        cancelled: list[str] = []
        for place, word in items:
            turn = self.model.turns[place.turn_id]
            text = self.new(word) if word else ""
            tokens = turn.tokens + 1
            flushes.append(Flush(place=place, text=text, tokens=tokens, published=self.publication(turn, text)))
            if not self.model.holds(place):
                lost.append(place)
                continue
            turn.text += text
            turn.tokens = tokens
            self.publish(turn, text)
            if turn.cancelled:
                cancelled.append(turn.id)
        assert self.do(self.storage.flush(flushes)) == (lost, cancelled)

    @rule(place=places)
    def step(self, place: Place) -> None:
        turn, text = self.model.turns[place.turn_id], self.new("step-")
        exchange = Exchange(messages=[message(text)] if turn.conversation is not None else [])
        steps = text.encode()
        held = self.model.holds(place) and turn.state == "running"
        self.do(
            self.storage.store_step(place, exchange, steps=steps, published=self.publication(turn, text)),
            None if held else TurnLost,
        )
        if held:
            turn.text, turn.steps = "", steps
            self.say(turn, text)

    @rule(place=places, state=ENDS)
    def settle(self, place: Place, state: Any) -> None:
        turn, text = self.model.turns[place.turn_id], self.new("end-")
        exchange = Exchange(messages=[message(text)] if turn.conversation is not None else [])
        held = self.model.holds(place)
        self.do(
            self.storage.settle_turn(
                place, exchange, state=state, reason="why", now=START, published=self.publication(turn, text)
            ),
            None if held else TurnLost,
        )
        if held:
            self.model.end(turn, state)
            self.say(turn, text)

    @rule(place=places, by_channel=st.booleans())
    def cancel(self, place: Place, by_channel: bool) -> None:
        asked = self.model.turns[place.turn_id]
        if by_channel and asked.channel is not None:
            candidates = [asked] if asked.unfinished else []
            answer = self.do(self.storage.cancel_turn(ME, channel_id=asked.channel))
        elif asked.conversation is not None:
            there = [turn for turn in self.model.turns.values() if turn.conversation == asked.conversation]
            candidates = [turn for turn in there if turn.state == "running"]
            candidates += [turn for turn in there if turn.state == "waiting"]
            answer = self.do(self.storage.cancel_turn(ME, conversation_id=asked.conversation))
        else:
            return
        if not candidates:
            assert answer is None
            return
        turn = candidates[0]
        if (turn.kind, turn.state) == ("complete", "waiting") and turn.owner not in self.model.alive:
            self.model.end(turn, "aborted")
        else:
            turn.cancelled = True
        assert (answer.id, answer.state, answer.cancelled) == (turn.id, turn.state, turn.cancelled)

    def publication(self, turn: Turn, text: str) -> Publication | None:
        return published(text, channel=turn.channel) if turn.channel is not None and text else None

    def publish(self, turn: Turn, text: str) -> None:
        if turn.channel is not None and text:
            self.model.lines[turn.channel].append(text)

    def say(self, turn: Turn, text: str) -> None:
        self.publish(turn, text)
        if turn.conversation is not None:
            self.model.texts[turn.conversation].append((text, False))

    # What is on disk

    @invariant()
    def messages_are_stored_once_and_in_order(self) -> None:
        for id_, texts in self.model.texts.items():
            stored: list[tuple[str, bool]] = []
            cursor: str | None = None
            while page := self.do(self.storage.list_messages(ME, id_, MessageQuery(cursor=cursor))):
                stored += [(item.text, item.meta == {"interrupted": True, "reason": "crash"}) for item in page]
                cursor = page[-1].id
            assert stored == texts

    @invariant()
    def events_are_published_once_and_in_order(self) -> None:
        for channel, lines in list(self.model.lines.items())[-3:]:
            rows = self.do(self.storage.channel_rows(ME, channel, after=0, limit=1000, now=START))
            assert [(row.seq, row.data.decode()) for row in rows] == list(enumerate(lines, 1))

    @invariant()
    def turns_are_where_they_are(self) -> None:
        there = [turn for turn in self.model.turns.values() if turn.state != "gone"]
        newest = {turn.conversation: turn for turn in there if turn.conversation is not None}
        newest |= {id_: running for id_ in newest if (running := self.model.blocking(id_)) is not None}
        channels = [turn for turn in there if turn.channel is not None][-3:]
        for turn in [*newest.values(), *channels]:
            if turn.channel is not None:
                row = self.do(self.storage.find_turn(ME, channel_id=turn.channel))
            else:
                row = self.do(self.storage.find_turn(ME, conversation_id=turn.conversation))
            assert (row.id, row.state, row.attempt, row.process_id) == (turn.id, turn.state, turn.attempt, turn.owner)
            assert (row.text, row.steps, row.tokens) == (turn.text, turn.steps, turn.tokens)
            assert (row.message_id is not None, row.cancelled) == (turn.message, turn.cancelled)


TestJournaling = Journaling.TestCase
TestJournaling.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# Mutants: the machine must find each of them out.


def planted(monkeypatch: pytest.MonkeyPatch, mutant: str) -> int:
    """Plant a bug in the conditions of all writes; return in how many."""
    cheating: dict[str, str] = {}
    for name in HELD:
        plant(name, mutant, cheating)
    for name, statement in cheating.items():
        monkeypatch.setitem(SQL, name, statement)
    return len(cheating)


CHEATS = ("ignores the attempt", "skips the lease", "writes turns that have ended")
LONG = settings(
    max_examples=400,
    stateful_step_count=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("mutant", CHEATS)
def test_journal_that_cheats_is_found_out(monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    assert planted(monkeypatch, mutant) >= 3
    with pytest.raises(AssertionError):
        run_machine(Journaling, settings=LONG)


def in_postgres(postgres: PostgresServer) -> type[Journaling]:
    class InPostgres(Journaling):
        def made(self) -> tuple[Adapter, list[JournaledStorage]]:
            adapter = PostgresAdapter(postgres.emptied())
            return adapter, [adapter.storage(StillClock()) for _ in range(2)]

    return InPostgres


def test_postgres_keeps_the_journal_as_the_model_does(postgres: PostgresServer) -> None:
    run_machine(in_postgres(postgres), settings=settings(TestJournaling.settings, max_examples=10))


def zombies_write(machine: Journaling) -> None:
    """Write from every kind of place that must be refused, without looking for them."""
    machine.begin()
    place = machine.queue(slot=0, which=0, kind="dispatch")
    machine.run(place)
    machine.thaw(which=0, succeeded=True, ends=False)
    ended = machine.start(slot=0, which=1, kind="complete")
    machine.settle(ended, "done")
    machine.settle(ended, "failed")
    machine.thaw(which=0, succeeded=False, ends=True)
    machine.messages_are_stored_once_and_in_order()


@pytest.mark.parametrize("mutant", ["none", *CHEATS])
def test_journal_that_cheats_in_postgres_is_found_out(
    monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer, mutant: str
) -> None:
    machine = in_postgres(postgres)()
    try:
        if mutant == "none":
            zombies_write(machine)
        else:
            assert planted(monkeypatch, mutant) >= 3
            with pytest.raises(AssertionError):
                zombies_write(machine)
    finally:
        machine.teardown()
