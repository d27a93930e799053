"""Whatever is done, in whatever order, storage answers as a few dictionaries would."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from msgspec.structs import replace
from tests.server.postgres import PostgresServer
from tests.server.storage.scene import DAY, HOUR, START, StillClock, conversation, message, new_turn

from turnwise.server.errors import Forbidden, NotFound
from turnwise.server.storage.base import AlreadyDone, ConversationQuery, Exchange, Filter, MessageQuery, Once
from turnwise.server.storage.journal import Busy, JournaledStorage, Place
from turnwise.server.storage.postgres import PostgresStorage
from turnwise.server.storage.sqlite import SqliteStorage
from turnwise.types.conversation import Conversation, Order
from turnwise.types.message import Message

ACCOUNTS = st.sampled_from(["me", "other"])
TEXTS = st.text(max_size=20)
SCALARS = st.sampled_from(["pro", "5", 5, True, False, "true", 2.5])
KEYS = st.sampled_from(["plan", "n", "deep"])
METAS = st.none() | st.dictionaries(KEYS, SCALARS | st.none() | st.fixed_dictionaries({"n": SCALARS}), max_size=3)
BOTS = st.sampled_from([None, "one", "two"])
ORDERS = st.sampled_from(["asc", "desc"])
TAKES = st.integers(min_value=1, max_value=5)


@dataclass
class Kept:
    """A conversation as the model knows it."""

    account: str
    conversation: Conversation
    messages: list[Message] = field(default_factory=list[Message])
    turn: Place | None = None
    """The turn that runs."""


def leaves(path: str, value: Any) -> list[tuple[str, object]]:
    if isinstance(value, dict):
        inside = cast("dict[str, Any]", value)
        return [leaf for key, inner in inside.items() for leaf in leaves(f"{path}.{key}" if path else key, inner)]
    return [(path, value)]


def written(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def matches(stored: object, asked: object) -> bool:
    if stored is None:
        return False
    if isinstance(asked, str):
        return written(stored) == asked
    return isinstance(stored, bool) == isinstance(asked, bool) and not isinstance(stored, str) and stored == asked


class Storing(RuleBasedStateMachine):
    """Runs every rule against a storage, in an SQLite file unless it is made elsewhere, and against dictionaries."""

    conversations: Bundle[str] = Bundle("conversations")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = StillClock()
        self.runner = asyncio.Runner()
        self.storage = self.made()
        self.runner.run(self.storage.open())
        self.kept: dict[str, Kept] = {}
        self.once: dict[tuple[str, str], tuple[bytes | None, int]] = {}
        self.runner.run(self.storage.register_process("p", lease_ms=HOUR))

    def made(self) -> JournaledStorage:
        return SqliteStorage(self.folder / "t.db", clock=self.clock)

    def teardown(self) -> None:
        self.runner.run(self.storage.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def found(self, account: str, conversation_id: str) -> Kept | type[Exception]:
        kept = self.kept.get(conversation_id)
        if kept is None:
            return NotFound
        return kept if kept.account == account else Forbidden

    def do(self, doing: Any, expected: Kept | type[Exception] | None = None) -> Any:
        """Return what storage answered; check that it refused what the model refuses."""
        try:
            answer = self.runner.run(doing)
        except (NotFound, Forbidden, AlreadyDone, Busy) as error:
            assert type(error) is expected  # noqa: PT017 - which refusal, or none, is the question
            return None
        assert not isinstance(expected, type)
        return answer

    @initialize(target=conversations)
    def begin(self) -> Any:
        return multiple(*(self.create("me", None, None, None, []) for _ in range(2)))

    @rule(
        target=conversations,
        account=ACCOUNTS,
        meta=METAS,
        bot=BOTS,
        lasts=st.none() | st.integers(min_value=1, max_value=3),
        texts=st.lists(TEXTS, max_size=3),
    )
    def create(self, account: str, meta: Any, bot: str | None, lasts: int | None, texts: list[str]) -> str:
        expires_at = None if lasts is None else self.clock.now + lasts
        given = conversation(at=self.clock.now, meta=meta, bot_id=bot, expires_at=expires_at)
        messages = [message(text, at=self.clock.now) for text in texts]
        self.do(self.storage.create_conversation(account, given, messages))
        self.kept[given.id] = Kept(account, given, messages)
        return given.id

    @rule(id_=conversations, account=ACCOUNTS, name=st.none() | TEXTS, meta=METAS, bot=BOTS)
    def update(self, id_: str, account: str, name: str | None, meta: Any, bot: str | None) -> None:
        expected = self.found(account, id_)
        changes = {"name": name, "meta": meta, "bot_id": bot}
        self.do(self.storage.update_conversation(account, id_, changes, now=self.clock.now), expected)
        if isinstance(expected, Kept):
            old = expected.conversation
            merged = None
            if meta is not None:
                merged = {key: value for key, value in {**(old.meta or {}), **meta}.items() if value is not None}
            expected.conversation = replace(old, name=name, meta=merged, bot_id=bot, updated_at=self.clock.now)

    @rule(id_=conversations, account=ACCOUNTS, texts=st.lists(TEXTS, min_size=1, max_size=3))
    def add(self, id_: str, account: str, texts: list[str]) -> None:
        expected = self.found(account, id_)
        given = [message(text, at=self.clock.now) for text in texts]
        self.do(self.storage.add_messages(account, id_, given), expected)
        if isinstance(expected, Kept):
            expected.messages += given
            expected.conversation = replace(expected.conversation, updated_at=self.clock.now)

    @rule(
        id_=conversations,
        account=ACCOUNTS,
        text=st.none() | TEXTS,
        key=st.none() | KEYS,
        recent=st.integers(min_value=0, max_value=4),
    )
    def start_turn(self, id_: str, account: str, text: str | None, key: str | None, recent: int) -> None:
        expected = self.found(account, id_)
        if key is not None and (account, key) in self.once:
            expected = AlreadyDone
        elif isinstance(expected, Kept) and expected.turn is not None:
            expected = Busy
        turn = new_turn(account_id=account, conversation_id=id_, now=self.clock.now)
        given = None if text is None else message(text, at=self.clock.now)
        start = self.do(self.storage.start_turn(turn, given, recent=recent, once=self.request(key)), expected)
        if isinstance(expected, Kept):
            expected.turn = Place(turn_id=turn.id, process_id="p", attempt=1)
            if key is not None:
                self.once[account, key] = (None, self.clock.now)
            if given is not None:
                expected.messages.append(given)
                expected.conversation = replace(expected.conversation, updated_at=self.clock.now)
            assert start.conversation == expected.conversation
            assert list(start.history) == expected.messages[max(0, len(expected.messages) - recent) :]

    @rule(id_=conversations, texts=st.lists(TEXTS, max_size=3), key=st.none() | KEYS)
    def settle_turn(self, id_: str, texts: list[str], key: str | None) -> None:
        kept = self.kept.get(id_)
        if kept is None or kept.turn is None:
            return
        answered = key is not None and self.once.get((kept.account, key), (None, 0))[0] is not None
        given = [message(text, at=self.clock.now, type="bot") for text in texts]
        settling = self.storage.settle_turn(
            kept.turn,
            Exchange(messages=given),
            state="done",
            reason="stop",
            now=self.clock.now,
            once=self.request(key, b"answer"),
        )
        self.do(settling, AlreadyDone if answered else kept)
        if answered:
            return
        kept.turn = None
        kept.messages += given
        if given:
            kept.conversation = replace(kept.conversation, updated_at=self.clock.now)
        if key is not None:
            self.once[kept.account, key] = (b"answer", self.once.get((kept.account, key), (None, self.clock.now))[1])

    def request(self, key: str | None, answer: bytes | None = None) -> Once | None:
        return None if key is None else Once(path="/p", key=key, body=b"b", now=self.clock.now, answer=answer)

    @rule(id_=conversations, which=st.integers(min_value=0, max_value=5), text=TEXTS)
    def update_message(self, id_: str, which: int, text: str) -> None:
        kept = self.kept.get(id_)
        if kept is not None and which < len(kept.messages):
            old = kept.messages[which]
            kept.messages[which] = replace(old, text=text, updated_at=self.clock.now)
            changes = {"text": text}
            self.do(self.storage.update_message(kept.account, id_, old.id, changes, now=self.clock.now), kept)

    @rule(id_=conversations, which=st.integers(min_value=0, max_value=5))
    def delete_message(self, id_: str, which: int) -> None:
        kept = self.kept.get(id_)
        if kept is not None and which < len(kept.messages):
            gone = kept.messages.pop(which)
            self.do(self.storage.delete_message(kept.account, id_, gone.id), kept)

    @rule(id_=consumes(conversations), account=ACCOUNTS)
    def delete(self, id_: str, account: str) -> None:
        expected = self.found(account, id_)
        self.do(self.storage.delete_conversation(account, id_), expected)
        if isinstance(expected, Kept):
            del self.kept[id_]

    @rule(passed=st.integers(min_value=1, max_value=2) | st.just(DAY))
    def time_passes(self, passed: int) -> None:
        self.clock.now += passed
        now = self.clock.now
        for id_, kept in list(self.kept.items()):
            expires_at = kept.conversation.expires_at
            if expires_at is not None and expires_at <= now:
                del self.kept[id_]
        self.once = {key: value for key, value in self.once.items() if value[1] + DAY > now}

    @rule(limit=st.integers(min_value=1, max_value=4))
    def purge(self, limit: int) -> None:
        assert self.do(self.storage.purge(now=self.clock.now, limit=limit)) <= limit

    @rule()
    def restart(self) -> None:
        self.runner.run(self.storage.close())
        self.runner.run(self.storage.open())

    @rule(account=ACCOUNTS, order=ORDERS, take=TAKES, meta=st.dictionaries(KEYS | st.just("deep.n"), SCALARS), bot=BOTS)
    def list_filtered(self, account: str, order: Order, take: int, meta: Filter, bot: str | None) -> None:
        bots = () if bot is None else (bot, "three")
        expected = [
            kept.conversation
            for kept in self.kept.values()
            if kept.account == account
            and (bot is None or kept.conversation.bot_id == bot)
            and all(
                any(name == path and matches(value, asked) for path, value in leaves("", kept.conversation.meta or {}))
                for name, asked in meta.items()
            )
        ]
        expected.sort(key=lambda item: (item.created_at, item.id), reverse=order == "desc")
        listed: list[Conversation] = []
        cursor: str | None = None
        while True:
            query = ConversationQuery(cursor=cursor, order=order, take=take, meta=meta, bot_ids=bots)
            page = self.do(self.storage.list_conversations(account, query))
            if not page:
                break
            listed += page
            cursor = page[-1].id
        assert listed == expected

    @rule(id_=conversations, account=ACCOUNTS, order=ORDERS, take=TAKES)
    def list_messages(self, id_: str, account: str, order: Order, take: int) -> None:
        expected = self.found(account, id_)
        page = self.do(self.storage.list_messages(account, id_, MessageQuery(order=order, take=take)), expected)
        if isinstance(expected, Kept):
            assert list(page) == expected.messages[:: 1 if order == "asc" else -1][:take]

    @rule(id_=conversations, account=ACCOUNTS)
    def fetch(self, id_: str, account: str) -> None:
        expected = self.found(account, id_)
        answer = self.do(self.storage.fetch_conversation(account, id_), expected)
        if isinstance(expected, Kept):
            assert answer == expected.conversation

    @invariant()
    def keys_are_remembered_for_a_day(self) -> None:
        for account, key in (("me", "plan"), ("other", "n")):
            known = self.runner.run(self.storage.find_once(account, "/p", key))
            assert (known is None) == ((account, key) not in self.once)
            assert known is None or known.answer == self.once[account, key][0]

    @invariant()
    def usage_counts_what_is_stored(self) -> None:
        for id_, kept in list(self.kept.items())[:2]:
            usage = self.runner.run(
                self.storage.conversation_usage(kept.account, id_, begin=START, end=self.clock.now + 1)
            )
            assert usage.messages == len(kept.messages)


TestStoring = Storing.TestCase
TestStoring.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_postgres_answers_as_dictionaries_would(postgres: PostgresServer) -> None:
    class InPostgres(Storing):
        def made(self) -> JournaledStorage:
            return PostgresStorage(postgres.emptied(), clock=self.clock)

    run_machine(InPostgres, settings=settings(TestStoring.settings, max_examples=12))
