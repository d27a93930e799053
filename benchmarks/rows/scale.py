"""What reading costs when much is stored: `list`, the last page of messages, `fetch`, against a small database.

Both hold the same kind of conversations, ten messages each, and are read over HTTP on a few connections, at places
spread over all they hold, the same in every round. Filled databases are kept in the temporary folder for the next run.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import get, run_load
from benchmarks.measure import alternate
from benchmarks.options import Options
from benchmarks.processes import ROOT
from benchmarks.report import AtMost, Figure, Line, note
from benchmarks.seed_database import conversation_id
from benchmarks.turnwise_server import TurnwiseServer
from turnwise.server.storage.database import SCHEMA_VERSION

SMALL = 1_000
LARGE = 50_000
FULL = 1_000_000
MESSAGES = 10
REQUESTS = 1_000
CONNECTIONS = 8
"""On one, what is measured is how the system wakes threads: twice as fast at some times as at others."""
BYTES_A_CONVERSATION = 2_960
ACCOUNT = "account"


def measure(options: Options) -> list[Line]:
    large = FULL if options.full else LARGE
    with ExitStack() as opened:
        small, much = (opened.enter_context(Stored(many, _filled(many))) for many in (SMALL, large))
        return [compare(what, small, much, options) for what in READS]


class Stored(TurnwiseServer):
    """A server over a database of so many conversations: the file in its folder, unless the URL is given."""

    def __init__(self, conversations: int, folder: Path, database: str | None = None) -> None:
        super().__init__(folder, database=database)
        self.listening()
        self.conversations = conversations
        # The same in every round, the unmeasured first one included: this is not about the disk's own speed.
        self._places = [conversation_id(random.randrange(conversations)) for _ in range(REQUESTS)]
        secret = _secret(database or f"sqlite:///{folder / 'turnwise.db'}")
        self._headers = {"Authorization": f"Bearer {secret}"}

    def read(self, path_of: Callable[[str], str]) -> float:
        """The seconds a read takes, of what `path_of` says of some conversations."""
        requests = (get(f"/api/v1/conversation/{path_of(each)}", self._headers) for each in self._places)
        return run_load(self.port, requests, connections=CONNECTIONS).seconds / REQUESTS


READS: dict[str, Callable[[str], str]] = {
    "list": lambda _: "list",
    "last page of messages": lambda id_: f"{id_}/message/list?order=desc",
    "fetch": lambda id_: f"{id_}/fetch",
    "list, 200 matches of a meta filter": lambda _: "list?meta.plan=rare",
}
ASKED = ("list", "last page of messages", "fetch")


def compare(what: str, small: Stored, large: Stored, options: Options, *, on: str = "") -> Figure:
    """Set what a read costs with much stored beside what it costs with little."""
    path_of = READS[what]
    samples = alternate(
        {"large": lambda: large.read(path_of), "small": lambda: small.read(path_of)}, rounds=options.rounds
    )
    return Figure(
        row=f"{what}{on}: {large.conversations:,} conversations / {small.conversations:,}",
        ours=f"{samples.median('large') * 1000:.2f} ms",
        other=f"small {samples.median('small') * 1000:.2f} ms",
        value=samples.ratio("large", "small"),
        bound=AtMost(1.3) if what in ASKED else None,
    )


def _filled(conversations: int) -> Path:
    """Return the folder of a database of that size, made now unless an earlier run left one."""
    folder = Path(tempfile.gettempdir()) / "turnwise-benchmarks" / f"{SCHEMA_VERSION}-{conversations}"
    database = folder / "turnwise.db"
    if not (folder / "filled").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.iterdir():
            leftover.unlink()
        _fill(database, conversations)
        (folder / "filled").touch()
    return folder


def _fill(database: Path, conversations: int) -> None:
    begin = time.monotonic()
    size = ["--conversations", str(conversations), "--messages", str(conversations * MESSAGES), "--longest", "0"]
    command = [sys.executable, "-m", "benchmarks.seed_database", str(database), *size]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as filling:
        while filling.poll() is None:
            _show(database, conversations * BYTES_A_CONVERSATION)
            time.sleep(0.2)
    if filling.returncode != 0:
        raise RuntimeError(f"the database of {conversations:,} conversations could not be made; its message is above")
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    note(f"{clear}{conversations:,} conversations stored in {time.monotonic() - begin:.0f} s, in {database}")


def _show(database: Path, expected: int) -> None:
    """Draw how much is there already, on a terminal."""
    if sys.stderr.isatty() and database.exists():
        part = min(database.stat().st_size / expected, 1)
        sys.stderr.write(f"\r\033[K{'█' * round(part * 40):░<40} {database.stat().st_size / 1e6:,.0f} MB")
        sys.stderr.flush()


def _secret(database: str) -> str:
    """Make a secret of the account that owns it all, as an operator would."""
    command = [sys.executable, "-m", "turnwise", "secret", "create", "--account", ACCOUNT, "--database", database]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()
