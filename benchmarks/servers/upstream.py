"""A fake OpenAI-compatible model server: 50 tokens, each written to the socket by itself, without a wait between."""

from __future__ import annotations

import json

from benchmarks.servers.raw import RawHttp, chunk, json_answer, run, serve

MODEL = "instant"
TOKENS = 50
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(choices: list[dict[str, object]], **more: object) -> bytes:
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764547200, "model": MODEL}
    return chunk(b"data: " + json.dumps({**body, "choices": choices, **more}).encode() + b"\n\n")


def delta(content: dict[str, str], finish: str | None = None) -> bytes:
    return event([{"index": 0, "delta": content, "finish_reason": finish}])


USAGE = {"prompt_tokens": 60, "completion_tokens": TOKENS, "total_tokens": 60 + TOKENS}
WRITES = [
    STREAM + delta({"role": "assistant", "content": ""}),
    *(delta({"content": f" word{number}"}) for number in range(TOKENS)),
    delta({}, "stop"),
    event([], usage=USAGE),
    chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
]
MODELS = json_answer(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode())


class Upstream(RawHttp):
    """Knows the chat completion and the list of models."""

    def answer(self, head: bytes, body: bytes) -> None:  # noqa: ARG002 - every prompt is answered alike
        if not head.startswith(b"POST"):
            self.transport.write(MODELS)
            return
        for data in WRITES:
            self.transport.write(data)


if __name__ == "__main__":
    # asyncio's own loop sends with every write; uvloop would gather all of them into one packet.
    run(serve(Upstream), fast=False)
