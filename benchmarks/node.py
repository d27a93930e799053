"""The official Node client as a peer, in a process that works on command."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from benchmarks.processes import ROOT, Process

__all__ = ["NodeClient", "missing_node"]

NODE = os.environ.get("TURNWISE_NODE", "node")
"""Its versions differ much: the table names the one that was measured."""
PACKAGE = Path("node_modules/@chatbotkit/sdk")


def missing_node() -> str | None:
    """Say why the Node client cannot be run, if it cannot."""
    if shutil.which(NODE) is None:
        return f"{NODE} is not installed"
    if _package() is None:
        return "the Node client is not installed: run `make node`"
    return None


class NodeClient(Process):
    """One Node process with one client."""

    def __init__(self, base_url: str) -> None:
        package = _package()
        assert package is not None
        super().__init__([NODE, str(ROOT / "benchmarks/node_client.mjs"), str(package), base_url])
        try:
            self.name = f"Node {self.read_line().removeprefix('v').partition('.')[0]} client"
        except BaseException:
            self.stop()
            raise

    def send(self, calls: int, *, together: int = 1) -> float:
        """Send so many messages, so many at a time; return the calls a second."""
        return self._rate({"job": "send", "calls": calls, "together": together})

    def read(self, conversation: str, *, together: int = 1, batches: int = 1) -> float:
        """Read so many streams at a time, so many times; return the lines a second."""
        return self._rate({"job": "read", "conversation": conversation, "together": together, "batches": batches})

    def _rate(self, job: dict[str, object]) -> float:
        self.write_line(json.dumps(job))
        done: dict[str, float] = json.loads(self.read_line())
        return done["units"] / done["seconds"]


def _package() -> Path | None:
    """The folder of the installed package; TURNWISE_NODE_FOLDER names another place than tests/node."""
    folder = Path(os.environ.get("TURNWISE_NODE_FOLDER", ROOT / "tests/node")) / PACKAGE
    return folder if (folder / "dist/esm/conversation/index.js").exists() else None
