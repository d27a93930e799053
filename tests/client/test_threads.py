from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.client.wire import answer, chunked, complete_call, send_call, wire

from turnwise._options import ClientOptions
from turnwise._runner import SyncRunner

RESULT = b'{"type":"result","data":{"id":"b","text":"t","usage":{"token":1},"end":{"reason":"stop"}}}\n'


def test_many_threads_use_one_client() -> None:
    with wire(answer()) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        with ThreadPoolExecutor(16) as threads:
            results = list(threads.map(lambda _: runner.run(send_call()).id, range(200)))
        assert results == ["m1"] * 200
        assert len({*server.header("idempotency-key")}) == 200
        assert server.connections <= 16
        runner.close()


def test_many_threads_read_streams_of_one_client() -> None:
    with wire(chunked(RESULT)) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        with ThreadPoolExecutor(8) as threads:
            texts = list(threads.map(lambda _: runner.stream(complete_call()).until_done().text, range(64)))
        assert texts == ["t"] * 64
        runner.close()
