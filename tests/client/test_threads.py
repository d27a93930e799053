from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.client.wire import answer, chunked, complete_call, send_call, wire

from turnwise._options import ClientOptions
from turnwise._runner import SyncRunner
from turnwise._streaming import Stream
from turnwise.types.conversation import CompleteResult
from turnwise.types.event import CompleteEvent

RESULT = b'{"type":"result","data":{"id":"b","text":"t","usage":{"token":1},"end":{"reason":"stop"}}}\n'


def send_once(runner: SyncRunner) -> str:
    return runner.run(send_call()).id


def read(stream: Stream[CompleteEvent, CompleteResult]) -> str:
    return stream.until_done().text


def test_many_threads_use_one_client() -> None:
    with wire(answer()) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        with ThreadPoolExecutor(16) as threads:
            results = list(threads.map(send_once, [runner] * 200))
        assert results == ["m1"] * 200
        assert len({*server.header("idempotency-key")}) == 200
        assert server.connections <= 16
        runner.close()


def test_many_threads_read_streams_of_one_client() -> None:
    with wire(chunked(RESULT)) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        with ThreadPoolExecutor(8) as threads:
            streams = [runner.stream(complete_call()) for _ in range(64)]
            texts = list(threads.map(read, streams))
        assert texts == ["t"] * 64
        runner.close()
