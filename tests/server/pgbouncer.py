"""A PgBouncer of the tests' own, in transaction mode, in front of their PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.server.postgres import PostgresServer, free_port, unprivileged

__all__ = ["Pooler", "own_pooler"]

# Fewer connections to the server than clients: whoever keeps something on one finds it in another's hands.
_CONFIGURATION = """
[databases]
* = host={socket} port=5432 user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
server_round_robin = 1
logfile = {folder}/log
pidfile = {folder}/pid
"""


class Pooler:
    """A running PgBouncer."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database_url: str) -> str:
        """Return a database's URL through it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}{urlsplit(database_url).path}?pooler=transaction"


@contextmanager
def own_pooler(server: PostgresServer) -> Generator[Pooler]:
    """Start PgBouncer; where it is not installed, skip, or fail where CI is to have it."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing = "pgbouncer is not on PATH: install pgbouncer"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(missing)
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="turnwise-pgbouncer-"))
    try:
        folder.chmod(0o777)
        port = free_port()
        file = folder / "pgbouncer.ini"
        file.write_text(_CONFIGURATION.format(socket=server.folder, port=port, folder=folder), encoding="utf-8")
        command = [*unprivileged(), program, "--quiet", str(file)]
        with subprocess.Popen(command, cwd=folder) as running:
            try:
                _wait_for(port, running)
                yield Pooler(port)
            finally:
                running.terminate()
    finally:
        shutil.rmtree(folder)


def _wait_for(port: int, running: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert running.poll() is None, f"pgbouncer ended with status {running.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("pgbouncer does not listen")
