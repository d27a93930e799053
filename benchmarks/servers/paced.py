"""A fake OpenAI-compatible model server that says 50 tokens a second, each with the moment at which it was written.

python -m benchmarks.servers.paced SECONDS
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import ClassVar

from benchmarks.servers.raw import RawHttp, chunk, run, serve
from benchmarks.servers.upstream import MODELS, STREAM, USAGE, delta, event

PACE = 50
"""Tokens a second of each stream."""
DIGITS = 12
"""Of a token's moment: microseconds of the clock that all processes share."""
BEFORE, AFTER = delta({"content": f" {'@' * DIGITS}"}).split(b"@" * DIGITS)
END = delta({}, "stop") + event([], usage=USAGE) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Paced(RawHttp):
    """Knows the chat completion and the list of models."""

    seconds: ClassVar[float]
    """How long every stream is."""

    def answer(self, head: bytes, body: bytes) -> None:  # noqa: ARG002 - every prompt is answered alike
        if not head.startswith(b"POST"):
            self.transport.write(MODELS)
            return
        self.transport.write(STREAM + delta({"role": "assistant", "content": ""}))
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self._await_next(loop, iter([begin + number / PACE for number in range(1, round(self.seconds * PACE) + 1)]))

    def _await_next(self, loop: asyncio.AbstractEventLoop, moments: Iterator[float]) -> None:
        moment = next(moments, None)
        if moment is None:
            self.transport.write(END)
        else:
            loop.call_at(moment, self._say, loop, moments)

    def _say(self, loop: asyncio.AbstractEventLoop, moments: Iterator[float]) -> None:
        if not self.transport.is_closing():
            self.transport.write(BEFORE + b"%0*d" % (DIGITS, time.monotonic_ns() // 1000 % 10**DIGITS) + AFTER)
            self._await_next(loop, moments)


if __name__ == "__main__":
    Paced.seconds = float(sys.argv[1])
    run(serve(Paced))
