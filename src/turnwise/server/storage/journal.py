"""The port to the journal: the life of a turn on disk, and the messages of channels.

A turn is a row before it is a model call. It belongs to the process that runs it, under that process's lease, and to
an attempt. Every write of a running turn names both (`Place`) and is refused with `TurnLost` when the turn has moved
on: when it ended, when another process adopted it, or when the lease lapsed. Time is the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from turnwise.server.storage.base import AlreadyDone, Exchange, Once, Storage, TurnStart
from turnwise.server.storage.notices import Notices
from turnwise.types.message import Message

__all__ = [
    "CANCELLED",
    "LEFT",
    "LINE_MOVED",
    "Busy",
    "ChannelRow",
    "ChannelStore",
    "Flush",
    "Journal",
    "JournaledStorage",
    "NewTurn",
    "Place",
    "Publication",
    "TurnKind",
    "TurnLost",
    "TurnRow",
    "TurnState",
    "WaitStore",
]

TurnKind = Literal["complete", "receive", "dispatch"]
TurnState = Literal["waiting", "running", "done", "aborted", "failed", "interrupted"]

LINE_MOVED: Final = "turn-line"
"""The notice that a turn ended for which others of its conversation wait."""

CANCELLED: Final = "turn-cancelled"
"""The notice that somebody asked a turn to end."""

LEFT: Final = "turns-left"
"""The notice that there are turns to be adopted."""


class TurnLost(Exception):
    """The turn has moved on: this attempt may write nothing more."""


class Busy(Exception):
    """Another turn of the conversation runs, or waits and came first, in this process or another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who writes: which process, in which attempt at which turn."""

    turn_id: str
    process_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """A turn that begins, owned by `process_id`, in its first attempt."""

    id: str
    process_id: str
    account_id: str
    conversation_id: str | None
    channel_id: str | None
    kind: TurnKind
    request: bytes
    """What is needed to run it again; forgotten when it ends."""
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRow:
    """A turn as it is stored."""

    id: str
    account_id: str
    conversation_id: str | None
    channel_id: str | None
    kind: TurnKind
    state: TurnState
    attempt: int
    process_id: str
    message_id: str | None
    """The user's message, once it is stored."""
    request: bytes
    """Empty once it has ended."""
    steps: bytes | None
    """How far it came, as the engine wrote it last; `None` once it has ended."""
    text: str
    """The unfinished text of `complete` and `receive`, as far as it was journaled."""
    tokens: int
    reason: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    cancelled: bool = False
    """Somebody asked it to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Messages for a channel, in order: a line each, of JSON, the messages' data alone."""

    account_id: str
    channel_id: str
    data: bytes
    count: int
    now: int
    last_seq: int | None = None
    """The number of the last message, out of a reserved range; the next free ones unless given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """What a running turn made since its last flush."""

    place: Place
    text: str = ""
    """Tokens of an unfinished message (kept until the turn stores a step or ends)."""
    tokens: int = 0
    """How many tokens the turn made so far."""
    published: Publication | None = None
    """The same as events, for the channel of a dispatched turn."""
    again: bool = False
    """Whether it was to be stored before, and may have been: then it is not stored twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """Messages published together; `seq` is the number of the last one."""

    seq: int
    count: int
    at: int
    data: bytes


class ChannelStore(Protocol):
    """Messages of channels, numbered upwards within (account, channel). Kept an hour, at most 10,000 a channel."""

    async def publish(self, publications: Sequence[Publication], *, once: Once | None = None) -> Sequence[int]:
        """Store publications in one commit; return the number of each one's last message.

        With `once`, the commit remembers the request (of the first publication's account); `AlreadyDone`, having stored
        nothing, where it is known.
        """
        ...

    async def reserve_numbers(self, account_id: str, channel_id: str, count: int) -> int:
        """Set `count` numbers aside for a turn, above all that were given out; return the first.

        Numbers are forgotten 24 hours after a channel's last use, and then begin at 1 again.
        """
        ...

    async def channel_seq(self, account_id: str, channel_id: str) -> int:
        """Return the last number of the channel that was given out, reserved ones included, 0 if there was none."""
        ...

    async def stored_seqs(self, channels: Sequence[tuple[str, str]]) -> Sequence[int]:
        """Return the number of the last stored message of each (account, channel), 0 if there never was one."""
        ...

    async def channel_rows(
        self, account_id: str, channel_id: str, *, after: int, limit: int, now: int
    ) -> Sequence[ChannelRow]:
        """Return up to `limit` rows that hold messages numbered above `after`, in order. The first may begin before."""
        ...

    async def channel_history(self, account_id: str, channel_id: str, *, length: int, now: int) -> int:
        """Return the number after which the last `length` kept messages begin."""
        ...


class WaitStore(Protocol):
    """The channels on which running turns wait for the results of calls, as all processes see them."""

    async def begin_wait(self, place: Place, call_id: str, channel_id: str) -> None:
        """Store that a turn waits on a channel for the result of a call."""
        ...

    async def end_wait(self, place: Place, call_id: str) -> None:
        """Forget it."""
        ...

    async def waited_on(self, account_id: str, conversation_id: str, channel_id: str) -> bool:
        """Tell whether the running turn of the conversation waits on the channel, in a process that has a lease."""
        ...


class Journal(ChannelStore, WaitStore, Protocol):
    """Turns and their leases."""

    async def register_process(self, process_id: str, *, lease_ms: int) -> None:
        """Begin a process's lease. Turns that an earlier process of this id left behind can be adopted at once."""
        ...

    async def renew_process(self, process_id: str, *, lease_ms: int) -> bool:
        """Prolong a lease. False where it lapsed: the process owns nothing any more."""
        ...

    async def other_processes(self, process_id: str) -> int:
        """Return how many other processes have a lease."""
        ...

    async def leave_process(self, process_id: str) -> None:
        """End a lease now; what the process still owned can be adopted at once."""
        ...

    async def put_back(self, place: Place) -> None:
        """Own a turn no longer, so that it can be adopted at once; nothing where it has moved on."""
        ...

    async def hand_over(self, process_id: str, *, running: bool) -> None:
        """Own dispatches no longer, those that wait or with `running` all: they can be adopted at once."""
        ...

    async def claim_lapsed(self, process_id: str, *, limit: int, now: int, waiting: bool = True) -> Sequence[TurnRow]:
        """Adopt turns whose process has no lease any more: the oldest of each account, then the next of each.

        A commit takes `limit` of them; the first that adopts something is the last, and none is left where nothing is
        returned. Without `waiting`, dispatches that wait are left to others, but for cancelled ones. Processes that
        claim at once get different turns.

        A `complete` or `receive` is settled: its text so far becomes a bot message with `meta` `{"interrupted": true,
        "reason": "crash"}`, its state `interrupted`; it is not returned. A `dispatch` is returned, with the attempt
        raised by one and owned by `process_id`; one that ran stays `running` meanwhile, so that no other turn of its
        conversation comes between. A process without a lease adopts nothing.
        """
        ...

    async def queue_turn(self, turn: NewTurn, *, once: Once | None = None) -> TurnRow | None:
        """Store a turn as `waiting`, last in its conversation's line, across processes.

        Returns the turn that has its channel already, if there is one. For a conversation that does not exist, or of
        another account, `NotFound` or `Forbidden`; `TurnLost` for a process without a lease.
        """
        ...

    async def start_turn(
        self, turn: NewTurn, message: Message | None, *, recent: int, once: Once | None = None
    ) -> TurnStart:
        """Store a `complete` or `receive` as `running`, together with the user's message, and read the history.

        Raises `Busy`, having stored nothing, where another turn of the conversation runs, or waits whose process has a
        lease; a `complete` or `receive` that runs and whose process has none any more is settled first, as
        `claim_lapsed` does. `TurnLost` for a process without a lease.
        """
        ...

    async def resume_turn(
        self,
        place: Place,
        message: Message | None,
        *,
        recent: int,
        now: int,
        published: Publication | None = None,
        once: Once | None = None,
    ) -> TurnStart:
        """Let a queued turn or an adopted dispatch of a conversation run: store the user's message unless it is stored.

        `published` tells that it runs, in the same commit, which with `once` remembers the request; `AlreadyDone`,
        having stored nothing, where that is known.

        Raises `Busy` where another turn of the conversation runs, or waits that came before this one (see
        `start_turn`), `TurnLost`, and `NotFound` where the conversation was deleted: then the turn is to be settled.
        """
        ...

    async def first_of(self, turn_ids: Sequence[str]) -> Sequence[str]:
        """Return those of these turns that need not wait for another one of their conversation: `resume_turn` tells."""
        ...

    async def leave_line(self, place: Place) -> None:
        """Forget a turn that waits, as if it had never come; nothing where it does not wait any more."""
        ...

    async def claim_once(self, account_id: str, once: Once, place: Place) -> AlreadyDone | None:
        """Let a turn without a row answer a request of which nothing else is stored; return what is known of it.

        `None`: the turn has it, until it answers it (`Storage.remember`), releases it, or its process has no lease any
        more. What is known without an answer, another process is about to answer. Its own process's turns take it from
        each other.
        """
        ...

    async def release_once(self, account_id: str, once: Once, place: Place) -> None:
        """Forget a request that a turn has and will not answer; nothing where it has it not."""
        ...

    async def run_stateless(self, place: Place, *, now: int, published: Publication | None = None) -> None:
        """Let a queued or adopted dispatch without a conversation run, likewise. Raises `TurnLost`."""
        ...

    async def flush(self, flushes: Sequence[Flush]) -> tuple[Sequence[Place], Sequence[str]]:
        """Journal what running turns made, in one commit; return places that are lost, and turns to be cancelled."""
        ...

    async def cancelled_turns(self, process_id: str) -> Sequence[str]:
        """Return the ids of a process's unfinished turns that are to be cancelled; writes nothing."""
        ...

    async def store_step(
        self,
        place: Place,
        exchange: Exchange,
        *,
        steps: bytes,
        tokens: int = 0,
        published: Publication | None = None,
    ) -> None:
        """Store finished messages of a running turn, and how far it came, in one commit.

        `tokens` is how many it made so far; what was flushed counts without. With the `steps` that are stored already
        nothing is stored again. Raises `TurnLost`, and `NotFound`, having stored nothing, where the conversation was
        deleted: then the turn is to be settled.
        """
        ...

    async def settle_turn(
        self,
        place: Place,
        exchange: Exchange,
        *,
        state: TurnState,
        reason: str | None,
        now: int,
        tokens: int = 0,
        published: Publication | None = None,
        once: Once | None = None,
    ) -> None:
        """End a turn, running or waiting: last messages, state, answer to its key, last events, all in one commit.

        Raises `TurnLost`; `AlreadyDone`, having changed nothing, where its key has an answer already; `NotFound` where
        the conversation was deleted: the turn ends all the same, its last events are stored, its messages are not.
        """
        ...

    async def find_turn(
        self, account_id: str, *, conversation_id: str | None = None, channel_id: str | None = None
    ) -> TurnRow | None:
        """Return the running turn of a conversation, else its newest, or the turn of a channel.

        `NotFound` and `Forbidden` as ever.
        """
        ...

    async def cancel_turn(
        self, account_id: str, *, conversation_id: str | None = None, channel_id: str | None = None
    ) -> TurnRow | None:
        """Ask the unfinished turn of a conversation (the running one first) or of a channel to end; return it.

        Its process hears of it at its next flush, or from `cancelled_turns`. A waiting `complete` or `receive` whose
        process has no lease is settled as `aborted`; a dispatch is adopted to be settled, so that its channel is told.
        """
        ...


class JournaledStorage(Storage, Journal, Protocol):
    """Everything that is stored, over one database."""

    @property
    def notices(self) -> Notices:
        """What other processes tell of their commits."""
        ...
