"""A server of raw bytes: each request is answered by the next step of a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from turnwise._call import Call, StreamCall
from turnwise.types.conversation import CompleteResult, ConversationSendRequest, SendResult
from turnwise.types.event import CompleteEvent

__all__ = ["COMPLETE", "SEND", "Wire", "answer", "chunked", "complete_call", "head", "send_call", "wire"]

Step = bytes | Callable[[socket.socket], None]

SEND = b'{"id":"m1","entities":[],"novel":7}'
COMPLETE = (
    '{"type":"completeBegin","data":{},"createdAt":1700000000000.5}\n'
    '{"type":"token","data":{"token":"Gr\u00fc\u00df \u2028 dich, "}}\n'
    '{"type":"ping","data":{}}\n'
    "\n"
    '{"type":"token","data":{"token":"\U0001f600"}}\r\n'
    '{"type":"message","data":{"type":"bot","text":"Gr\u00fc\u00df \u2028 dich, \U0001f600"}}\n'
    '{"type":"usage","data":{"model":"m","inputTokensUsed":1,"outputTokensUsed":2}}\n'
    '{"type":"result","data":{"id":"b1","text":"Gr\u00fc\u00df \u2028 dich, \U0001f600","usage":{"token":3},'
    '"end":{"reason":"stop"}},"novel":1}'
).encode()


@dataclass
class Wire:
    """Where it listens, and what it received."""

    url: str
    requests: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0

    @property
    def bodies(self) -> list[bytes]:
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]

    def header(self, name: str) -> list[str | None]:
        """That header of every request."""
        return [_header(request, name) for request in self.requests]


def head(status: str = "200 OK", **headers: str) -> bytes:
    """The head of an answer; `_` in names stands for `-`."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: bytes = SEND, status: str = "200 OK", **headers: str) -> bytes:
    """A whole answer."""
    kind = headers.pop("content_type", "application/json")
    return head(status, content_type=kind, content_length=str(len(body)), **headers) + body


def chunked(*pieces: bytes, end: bool = True, **headers: str) -> bytes:
    """A chunked answer, each piece as one chunk."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return (
        head(content_type="application/jsonl", transfer_encoding="chunked", **headers)
        + framed
        + (b"0\r\n\r\n" if end else b"")
    )


def send_call(**options: object) -> Call[SendResult]:
    return Call(
        method="POST",
        path="/api/v1/conversation/{conversationId}/send",
        ids=("c1",),
        body=ConversationSendRequest(text="hi"),
        result=SendResult,
        options=options,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )


def complete_call(**options: object) -> StreamCall[CompleteEvent, CompleteResult]:
    return StreamCall(
        method="POST",
        path="/api/v1/conversation/{conversationId}/complete",
        ids=("c1",),
        body=ConversationSendRequest(text="hi"),
        events=CompleteEvent,
        result=CompleteResult,
        options=options,  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    )


def _header(request: bytes, name: str) -> str | None:
    for line in request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return None


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return b""
        data += block
    length = int(_header(data, "content-length") or 0) + data.index(b"\r\n\r\n") + 4
    while len(data) < length:
        data += connection.recv(65536)
    return data


@contextmanager
def wire(*steps: Step) -> Generator[Wire]:
    """Answer requests with `steps` in turn, the last one for ever after; an empty one closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = Wire(f"http://127.0.0.1:{listener.getsockname()[1]}")
    lock = threading.Lock()
    open_now: set[socket.socket] = set()

    def serve(connection: socket.socket) -> None:
        with connection:
            while request := _read(connection):
                with lock:
                    step = steps[min(len(served.requests), len(steps) - 1)]
                    served.requests.append(request)
                if callable(step):
                    step(connection)
                    return
                if not step:
                    return
                connection.sendall(step)
                if b"content-length" not in step and b"chunked" not in step:
                    return

    def guarded(connection: socket.socket) -> None:
        try:
            serve(connection)
        except OSError:
            return
        finally:
            open_now.discard(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            served.connections += 1
            open_now.add(connection)
            threads.append(threading.Thread(target=guarded, args=(connection,), daemon=True))
            threads[-1].start()

    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    try:
        yield served
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in list(open_now):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in threads:
            thread.join(5)
