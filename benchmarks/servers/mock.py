"""A mock of the conversation API that answers as fast as Python can, so that what is measured is the client.

The conversation's id says what a stream holds and how it is cut. `batches-200`: 200 lines, ten in every HTTP chunk and
every write (our server puts 14 to 20 into one where a model is as fast as it can be). `single-200`: a chunk for each
line, ten of them in a write. `lines-20000`: chunks of 16 KiB, as a list comes, or what is read late.
"""

from __future__ import annotations

import json
from functools import cache

from benchmarks.servers.raw import RawHttp, chunk, json_answer, run, serve

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\n\r\n"
SENT = json_answer(b'{"id":"m0123456789abcdefghij","entities":[]}')
NOW = 1_764_547_200_000
CHUNK = 16 * 1024


class Mock(RawHttp):
    """Knows `send`, `complete`, and `GET /recorded`, which shows the head of the last request before it."""

    last_head = b""

    def answer(self, head: bytes, body: bytes) -> None:  # noqa: ARG002 - every send is answered alike
        path = head[head.index(b" ") + 1 : head.index(b" HTTP/")]
        if path.endswith(b"/send"):
            self.transport.write(SENT)
            Mock.last_head = head
        elif path.endswith(b"/complete"):
            for piece in stream(path.split(b"/")[-2].decode()):
                self.transport.write(piece)
        elif path == b"/recorded":
            self.transport.write(json_answer(json.dumps(Mock.last_head.decode("latin-1")).encode()))
        else:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@cache
def stream(conversation_id: str) -> list[bytes]:
    """Return what is written for one completion, write by write."""
    kind, _, count = conversation_id.partition("-")
    lines = [line({"type": kind, "data": data}) for kind, data in events(int(count))]
    batches = [lines[i : i + 10] for i in range(0, len(lines), 10)]
    if kind == "batches":
        writes = [chunk(b"".join(batch)) for batch in batches]
    elif kind == "single":
        writes = [b"".join(map(chunk, batch)) for batch in batches]
    else:
        whole = b"".join(lines)
        writes = [chunk(whole[i : i + CHUNK]) for i in range(0, len(whole), CHUNK)]
    return [STREAM, *writes, b"0\r\n\r\n"]


def events(lines: int) -> list[tuple[str, object]]:
    """Return a completion of so many lines."""
    tokens = [f" word{number % 1000}" for number in range(lines - 8)]
    text = "".join(tokens)
    usage = {"token": lines + 12}
    return [
        ("sendResult", {"id": "m0123456789abcdefghij", "text": "Hello", "entities": [], "usage": {"token": 0}}),
        ("completeBegin", {}),
        ("reasoningToken", {"token": "Hm."}),
        *(("token", {"token": token}) for token in tokens),
        ("message", {"type": "bot", "text": text}),
        ("usage", {"model": "mock", "inputTokensUsed": 12, "outputTokensUsed": lines}),
        ("completeEnd", {}),
        ("receiveResult", {"id": "m0123456789abcdefghik", "text": text, "usage": usage}),
        ("result", {"id": "m0123456789abcdefghik", "text": text, "usage": usage, "end": {"reason": "stop"}}),
    ]


def line(event: dict[str, object]) -> bytes:
    return json.dumps({**event, "createdAt": NOW}, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    run(serve(Mock))
