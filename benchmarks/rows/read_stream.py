"""One stream of 20,000 lines read into typed events, against a raw socket with msgspec's `decode_lines`, and Node."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec

from benchmarks.measure import alternate, beside, beside_node
from benchmarks.node import NodeClient, missing_node
from benchmarks.options import Options
from benchmarks.processes import BenchmarkServer
from benchmarks.report import AtLeast, Line
from turnwise import AsyncConversationClient, ConversationClient

ROW = "one stream of 20,000 lines"
LINES = 20_000
CONVERSATION = f"lines-{LINES}"


class TokenData(msgspec.Struct, frozen=True):
    token: str


class TokenEvent(msgspec.Struct, frozen=True, tag_field="type", tag="token"):
    data: TokenData
    createdAt: int  # noqa: N815 - as on the wire


class OtherData(msgspec.Struct, frozen=True):
    id: str = ""
    text: str = ""


def _other(tag: str) -> type[msgspec.Struct]:
    return msgspec.defstruct(tag, [("data", OtherData), ("createdAt", int)], frozen=True, tag_field="type", tag=tag)


OTHERS = ("sendResult", "completeBegin", "reasoningToken", "message", "usage", "completeEnd", "receiveResult", "result")


def measure(options: Options) -> list[Line]:
    peer = missing_node()
    with ExitStack() as opened:
        mock = opened.enter_context(BenchmarkServer("mock"))
        client = opened.enter_context(ConversationClient(secret="benchmark", base_url=mock.url))
        runner = opened.enter_context(asyncio.Runner())
        over = AsyncConversationClient(secret="benchmark", base_url=mock.url)
        opened.callback(lambda: runner.run(over.aclose()))
        floor = Floor(mock.port)
        contenders = {
            "ours": lambda: _ours(client),
            "async": lambda: runner.run(_ours_async(over)),
            "raw socket": floor.read,
        }
        if peer is None:
            node = opened.enter_context(NodeClient(mock.url))
            peer = node.name
            contenders[peer] = lambda: node.read(CONVERSATION)
        samples = alternate(contenders, rounds=options.rounds * 2)
    return [
        beside(samples, "raw socket", row=ROW, unit="lines/s", bound=AtLeast(0.25)),
        beside_node(samples, peer, row=ROW, unit="lines/s", bound=AtLeast(1)),
        beside(samples, "async", row=f"{ROW}, sync", unit="lines/s", bound=None),
    ]


def _ours(client: ConversationClient) -> float:
    begin = time.perf_counter()
    lines = 0
    with client.complete_stream(CONVERSATION, text="Hello") as stream:
        for _ in stream:
            lines += 1
    assert lines == LINES
    return lines / (time.perf_counter() - begin)


async def _ours_async(client: AsyncConversationClient) -> float:
    begin = time.perf_counter()
    lines = 0
    async with client.complete_stream(CONVERSATION, text="Hello") as stream:
        async for _ in stream:
            lines += 1
    assert lines == LINES
    return lines / (time.perf_counter() - begin)


class Floor:
    """The least there is to do: receive, take the chunks' frames off, decode whole lines."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        union: object = TokenEvent
        for tag in OTHERS:
            union = union | _other(tag)
        self._decoder = msgspec.json.Decoder(union)

    def read(self) -> float:
        begin = time.perf_counter()
        lines = 0
        rest = b""
        for data in self._body():
            whole, newline, rest = (rest + data).rpartition(b"\n")
            for _ in self._decoder.decode_lines(whole) if newline else ():
                lines += 1
        assert lines == LINES
        return lines / (time.perf_counter() - begin)

    def _body(self) -> Iterator[bytes]:
        with socket.create_connection(self._address) as connection:
            connection.sendall(
                b"POST /api/v1/conversation/%b/complete HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
                % CONVERSATION.encode()
            )
            received = connection.recv(65536)
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            pending = received.partition(b"\r\n\r\n")[2]
            while True:
                while (end := pending.find(b"\r\n")) < 0:
                    pending += connection.recv(65536)
                size = int(pending[:end], 16)
                while len(pending) < end + 4 + size:
                    pending += connection.recv(65536)
                if size == 0:
                    return
                yield pending[end + 2 : end + 2 + size]
                pending = pending[end + 4 + size :]
