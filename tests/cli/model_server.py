"""A language model as OpenAI-compatible servers offer it, that says what it was told to say."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Generator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["MODEL", "model_server"]

MODEL = "parrot"


@contextlib.contextmanager
def model_server(
    answers: Sequence[str], *, delay: float = 0.0, reasoning: str = "", status: int = 200
) -> Generator[str]:
    """Serve one answer after the other, a word at a time and `delay` seconds apart; yields the base URL."""
    given = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._head(200, "application/json")
            self.wfile.write(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            if status != 200:
                self._head(status, "application/json")
                self.wfile.write(json.dumps({"error": {"message": "the parrot is asleep"}}).encode())
                return
            self._head(200, "text/event-stream")
            with contextlib.suppress(OSError):
                self._say("reasoning_content", reasoning)
                self._say("content", next(given))
                self._chunk({"delta": {}, "finish_reason": "stop"})
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _head(self, code: int, kind: str) -> None:
            self.send_response(code)
            self.send_header("content-type", kind)
            self.end_headers()

        def _say(self, name: str, text: str) -> None:
            for word in _words(text):
                self._chunk({"delta": {name: word}, "finish_reason": None})
                time.sleep(delay)

        def _chunk(self, choice: dict[str, object]) -> None:
            event = {"object": "chat.completion.chunk", "model": MODEL, "choices": [{"index": 0, **choice}]}
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]] + [text.rpartition(" ")[2]] if text else []
