"""The port to notices: what a process commits, and others wait for, is told to them at once.

A notice is a hint, never the truth: it is told after the commit that caused it, and one that gets lost (a connection
breaks, a process dies) is not told again. Whoever acts on notices also looks by itself now and then: rarely where
`Notices.listening`, as often as before there were notices where not.

Jobs tell with `storage.jobs.notices.tell(db, topic, body)`; services hear through `JournaledStorage.notices`:

    stop = storage.notices.subscribe(TURN_ENDED, heard=wake, missed=wake_all)

Over SQLite, and behind a pooler that allows no listening, nothing is ever heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["CHANNEL", "LARGEST", "Notices", "Silence"]

LARGEST: Final = 7000
"""Bytes that the JSON of a notice's body may have."""

CHANNEL: Final = "channel"
"""The topic of what was published on channels; `storage.jobs.channels` says what its bodies hold."""


class Notices(Protocol):
    """What other processes on the same database tell. A process does not hear its own notices."""

    @property
    def listening(self) -> bool:
        """Whether notices are heard at present. False while the connection is away, and where there is none."""
        ...

    def subscribe(
        self, topic: str, *, heard: Callable[[bytes], None], missed: Callable[[], None]
    ) -> Callable[[], None]:
        """Hear of a topic from now on; return what ends that.

        `heard` gets the JSON of a notice's body, ASCII, in the order of one teller's commits. It may come twice, and
        late. `missed` is called when notices may have been lost, before the next one is heard: read up what there is.
        Both are called in the event loop, are to return at once and to raise nothing.
        """
        ...


class Silence:
    """No notices: whoever waits for others looks for itself."""

    @property
    def listening(self) -> bool:  # noqa: D102 - the port says what it promises
        return False

    def subscribe(  # noqa: D102 - the port says what it promises
        self,
        topic: str,  # noqa: ARG002
        *,
        heard: Callable[[bytes], None],  # noqa: ARG002
        missed: Callable[[], None],  # noqa: ARG002
    ) -> Callable[[], None]:
        return _nothing


def _nothing() -> None:
    pass
