"""A small HTTP server that keeps every request it gets and answers what any operation can read."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

__all__ = ["Recorder", "Request", "recording"]

RESULT: dict[str, object] = {
    "id": "r1",
    "type": "user",
    "text": "t",
    "token": "a.b.c",
    "createdAt": 1,
    "updatedAt": 2,
    "expiresAt": 3,
    "usage": {"token": 4},
    "end": {"reason": "stop"},
    "entities": [],
    "items": [],
    "cursor": "",
}


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters in the order of their names."""
        return sorted(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def json(self) -> object:
        return json.loads(self.body) if self.body else None


class Recorder:
    """Where it listens, and what it heard. `answers` may hold the answer of a path: a content type and a body."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.connections: set[tuple[str, int]] = set()
        self.answers: dict[str, tuple[str, bytes]] = {}

    def take(self) -> list[Request]:
        """What came since the last time."""
        taken, self.requests = self.requests, []
        return taken

    def answer(self, request: Request) -> tuple[str, bytes]:
        if request.path in self.answers:
            return self.answers[request.path]
        if "jsonl" not in request.headers.get("accept", ""):
            return "application/json; charset=utf-8", json.dumps(RESULT).encode()
        event: dict[str, object] = {"type": "item" if request.method == "GET" else "result", "data": RESULT}
        return "application/jsonl", json.dumps(event).encode() + b"\n"


@contextmanager
def recording() -> Generator[Recorder]:
    """Run a recorder on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            recorder.requests.append(request)
            recorder.connections.add(self.client_address)
            kind, answer = recorder.answer(request)
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(answer)))
            self.send_header("x-request-id", "req-1")
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = take  # noqa: N815 - the names http.server asks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away is no error here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()
