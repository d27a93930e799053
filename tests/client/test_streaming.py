from __future__ import annotations

import asyncio
import pickle
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import NoneType

import pytest
from tests.client.wire import COMPLETE, answer, chunked, complete_call, head, wire

from turnwise import AsyncTurnwise
from turnwise._call import StreamCall, Timeout
from turnwise._errors import (
    DecodeError,
    GatewayTimeoutError,
    IdleTimeout,
    NotFoundError,
    StreamError,
    StreamInterrupted,
    TotalTimeout,
)
from turnwise._options import ClientOptions
from turnwise._runner import AsyncRunner, SyncRunner
from turnwise._streaming import AsyncStream, Stream, Transcript
from turnwise.types.conversation import CompleteResult
from turnwise.types.event import (
    AnyEvent,
    CompleteEvent,
    ConversationItemEvent,
    ItemEvent,
    ResultEvent,
    TokenEvent,
    UnknownEvent,
)

TEXT = "Gr\u00fc\u00df \u2028 dich, \U0001f600"
CONVERSATION = b'{"id":"c1","createdAt":1,"updatedAt":2,"novel":3}'
ITEM_CALL: StreamCall[ConversationItemEvent, None] = StreamCall(
    method="GET",
    path="/api/v1/conversation/list",
    events=ConversationItemEvent,
    result=NoneType,
    options={"retries": 0},
)


def sync_stream(url: str, **options: object) -> Stream[CompleteEvent, CompleteResult]:
    return SyncRunner(ClientOptions.of(base_url=url, retries=0)).stream(complete_call(**options))


def async_stream(url: str, **options: object) -> AsyncStream[CompleteEvent, CompleteResult]:
    return AsyncRunner(ClientOptions.of(base_url=url, retries=0)).stream(complete_call(**options))


class Pieces:
    """A response that is nothing but its chunks."""

    status = 200
    headers = {"x-request-id": "r9"}  # noqa: RUF012

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = 0

    def read(self) -> bytes:
        return b"".join(self.pieces)

    def chunks(self) -> Iterator[bytes]:
        yield from self.pieces

    async def aread(self) -> bytes:
        return self.read()

    async def achunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    def close(self) -> None:
        self.closed += 1


def streaming(*pieces: bytes) -> Stream[CompleteEvent, CompleteResult]:
    return Stream(complete_call(), lambda: Pieces(*pieces))


def seen(stream: Stream[CompleteEvent, CompleteResult]) -> list[object]:
    return [*stream, stream.text, stream.result, stream.usage]


def test_a_stream_cut_anywhere_reads_the_same() -> None:
    whole = seen(streaming(COMPLETE))
    assert whole[-3] == TEXT
    assert [type(event).__name__ for event in whole[:-3]] == [
        "CompleteBeginEvent",
        "TokenEvent",
        "TokenEvent",
        "MessageEvent",
        "UsageEvent",
        "ResultEvent",
    ]
    for cut in range(len(COMPLETE) + 1):
        assert seen(streaming(COMPLETE[:cut], COMPLETE[cut:])) == whole
    assert seen(streaming(*(bytes([byte]) for byte in COMPLETE))) == whole
    assert seen(streaming(COMPLETE + b"\n\n")) == whole


@pytest.mark.parametrize("cut", range(0, len(COMPLETE), 37))
async def test_a_stream_cut_by_the_network_reads_the_same(cut: int) -> None:
    body = COMPLETE[:cut], COMPLETE[cut:]

    def slowly(connection: socket.socket) -> None:
        sent = chunked(*(piece for piece in body if piece))
        middle = len(sent) * cut // len(COMPLETE)
        connection.sendall(sent[:middle])
        time.sleep(0.01)
        connection.sendall(sent[middle:])

    with wire(slowly) as server:
        with sync_stream(server.url) as stream:
            assert len(list(stream)) == 6
        assert stream.text == TEXT
        async with async_stream(server.url) as later:
            assert len([event async for event in later]) == 6
        assert later.text == TEXT


@pytest.mark.parametrize("form", ["chunked", "length", "until closed", "gzip"])
async def test_every_framing_reads_the_same(form: str) -> None:
    import gzip

    kind = "application/jsonl"
    steps = {
        "chunked": chunked(COMPLETE),
        "length": answer(COMPLETE, content_type=kind),
        "until closed": head(content_type=kind, connection="close") + COMPLETE,
        "gzip": chunked(gzip.compress(COMPLETE), content_encoding="gzip"),
    }
    with wire(steps[form]) as server:
        result = sync_stream(server.url).until_done()
        assert result.text == TEXT
        assert (await async_stream(server.url).until_done()).text == TEXT
        assert server.header("accept") == ["application/jsonl"] * 2


def test_a_finished_stream_gives_its_connection_back() -> None:
    with wire(chunked(COMPLETE)) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        for _ in range(3):
            runner.stream(complete_call()).until_done()
        assert server.connections == 1


def test_bytes_after_the_body_cost_the_connection() -> None:
    with wire(chunked(COMPLETE) + b"surplus", chunked(COMPLETE)) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        for _ in range(2):
            runner.stream(complete_call()).until_done()
        assert server.connections == 2


async def test_what_a_stream_adds_up_to() -> None:
    lines = [
        b'{"type":"reasoningToken","data":{"token":"hm "}}',
        b'{"type":"reasoningToken","data":{"token":"yes"}}',
        b'{"type":"token","data":{"token":"Let me see"}}',
        b'{"type":"message","data":{"type":"bot","text":"Let me see"}}',
        b'{"type":"message","data":{"type":"activity","text":""}}',
        b'{"type":"token","data":{"token":"No"}}',
        b'{"type":"token","data":{"token":"on"}}',
        b'{"type":"message","data":{"type":"bot","text":"Noon"}}',
        b'{"type":"result","data":{"id":"b","text":"Noon","usage":{"token":9},"end":{"reason":"stop"},"new":1}}',
    ]
    stream = streaming(b"\n".join(lines))
    with pytest.raises(RuntimeError, match="until_done"):
        _ = stream.result
    assert (stream.response, stream.request_id, stream.usage) == (None, None, None)
    texts = [stream.text for _ in stream]
    assert texts == ["", "", "Let me see", "Let me see", "Let me see", "No", "Noon", "Noon", "Noon"]
    assert stream.reasoning == "hm yes"
    assert stream.result.extra == {"new": 1}
    assert stream.result.request_id == stream.request_id == "r9"
    assert stream.usage is not None
    assert stream.usage.token == 9
    assert stream.response is not None
    assert stream.response.status == 200
    assert list(stream) == []


def test_events_and_items_keep_what_is_not_declared_even_pickled() -> None:
    line = b'{"type":"token","data":{"token":"a"},"novel":{"x":1}}'
    for sent in (line, b'{"type":"strange","data":1}\n' + line):
        event = _collected(sent)[-1]
        again = pickle.loads(pickle.dumps(event))  # noqa: S301 - our own
        assert isinstance(again, TokenEvent)
        assert again.extra == {"novel": {"x": 1}}
        assert again.to_json() == line.decode()


def _collected(sent: bytes) -> list[CompleteEvent]:
    events: list[CompleteEvent] = []
    with suppress(StreamInterrupted):
        for event in streaming(sent):
            events.append(event)  # noqa: PERF402 - kept although the stream ends badly
    return events


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"novelty","data":{"a":[1]},"createdAt":5,"seq":2,"more":true}',
        b'{"type":"novelty","data":{"a":[1]},"createdAt":"odd","more":true}',
        b'{"type":"token","data":{"unheard":"of"}}',
        b'{"type":"novelty"}',
    ],
)
def test_an_event_that_is_not_known_is_passed_on_whole(line: bytes) -> None:
    before, event, after = _collected(b'{"type":"usage","data":{}}\n' + line + b'\n{"type":"completeEnd"}\n')
    assert isinstance(event, UnknownEvent)
    assert event.to_json() == line.decode()
    assert (type(before).__name__, type(after).__name__) == ("UsageEvent", "CompleteEndEvent")


def test_two_values_on_a_line_are_not_two_events() -> None:
    with pytest.raises(DecodeError, match="no event"):
        list(streaming(b'{"type":"ping"} {"type":"ping"}\n'))


@pytest.mark.parametrize("line", [b"[1]", b"<html>", b'{"data":1}', b'{"type":"token","data":{"token":"\xff"}}'])
async def test_a_line_that_is_no_event_is_an_error_with_the_request_id(line: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        list(streaming(line + b"\n"))
    assert caught.value.request_id == "r9"
    assert caught.value.body == line


def test_a_result_of_another_shape_is_an_error() -> None:
    with pytest.raises(DecodeError, match="result"):
        list(streaming(b'{"type":"result","data":{"id":1}}\n'))


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"error","data":{"message":"Too much","code":"LIMITS_REACHED"}}\n',
        b'{"type":"error","data":{"message":"Too much","code":"LIMITS_REACHED"},"createdAt":"odd"}\n',
    ],
)
async def test_an_error_event_raises_with_the_partial_text(event: bytes) -> None:
    body = b'{"type":"token","data":{"token":"par"}}\n' + event + b"garbage after it\n"
    with wire(chunked(body, x_request_id="r5")) as server:
        with sync_stream(server.url) as stream, pytest.raises(StreamError) as caught:
            list(stream)
        async with async_stream(server.url) as later:
            with pytest.raises(StreamError) as also:
                await later.until_done()
    for error in (caught.value, also.value):
        assert (error.status, error.code, error.message) == (429, "LIMITS_REACHED", "Too much")
        assert (error.text, error.request_id, error.body) == ("par", "r5", event.strip())


@pytest.mark.parametrize(
    "data, message, code",
    [
        (b"null", "The server sent an error without a message", "GENERIC_ERROR"),
        (b'{"message":5,"code":"ODD"}', "5", "ODD"),
    ],
)
def test_an_error_event_of_any_shape_is_an_error(data: bytes, message: str, code: str) -> None:
    with pytest.raises(StreamError) as caught:
        list(streaming(b'{"type":"error","data":' + data + b"}\n"))
    assert (caught.value.message, caught.value.code, caught.value.status) == (message, code, 500)


@pytest.mark.parametrize("end", ["connection", "framing", "result", "line"])
async def test_an_early_end_is_an_interruption_with_the_partial_text(end: str) -> None:
    token = b'{"type":"token","data":{"token":"par"}}\n'
    steps = {
        "connection": chunked(token, end=False) + b"ff\r\n{",
        "framing": chunked(token, end=False),
        "result": chunked(token),
        "line": chunked(token, b'{"type":"resu'),
    }

    def cut(connection: socket.socket) -> None:
        connection.sendall(steps[end])
        time.sleep(0.05)
        if end == "framing":
            connection.sendall(b"nonsense\r\n")

    with wire(cut) as server:
        with sync_stream(server.url) as stream, pytest.raises(StreamInterrupted) as caught:
            list(stream)
        assert caught.value.text == stream.text == "par"
        async with async_stream(server.url) as later:
            with pytest.raises(StreamInterrupted) as also:
                await later.until_done()
        assert also.value.text == "par"


async def test_a_cut_after_the_result_is_no_loss() -> None:
    def cut(connection: socket.socket) -> None:
        connection.sendall(chunked(COMPLETE + b"\n", end=False))

    with wire(cut) as server:
        assert sync_stream(server.url).until_done().text == TEXT
        assert (await async_stream(server.url).until_done()).text == TEXT


async def test_streams_of_items_simply_end_and_items_remember_their_bytes() -> None:
    body = b'{"type":"item","data":' + CONVERSATION + b'}\n{"type":"nop"}\n'

    def cut(connection: socket.socket) -> None:
        connection.sendall(chunked(body, end=False))

    with wire(chunked(body), chunked(), chunked(body), cut) as server:
        runner = SyncRunner(ClientOptions.of(base_url=server.url))
        [event] = runner.stream(ITEM_CALL)
        assert isinstance(event, ItemEvent)
        assert event.data.extra == {"novel": 3}
        assert runner.stream(ITEM_CALL).until_done() is None
        later = AsyncRunner(ClientOptions.of(base_url=server.url)).stream(ITEM_CALL)
        assert len([each async for each in later]) == 1
        with pytest.raises(StreamInterrupted):
            list(runner.stream(ITEM_CALL))


def test_events_without_a_union_of_their_own_are_read_too() -> None:
    call: StreamCall[AnyEvent, None] = StreamCall(method="GET", path="/x", events=AnyEvent, result=NoneType)
    stream = Stream(call, lambda: Pieces(b'{"type":"result","data":5}\n{"type":"mine"}\n'))
    first, second = stream
    assert isinstance(first, ResultEvent)
    assert isinstance(second, UnknownEvent)


async def test_an_error_in_place_of_a_stream_is_raised_on_entering() -> None:
    missing = answer(b'{"message":"gone","code":"NOT_FOUND"}', "404 Not Found")
    late = answer(b'{"message":"slow","code":"GATEWAY_TIMEOUT"}')
    plain = answer()
    with wire(missing, missing, late, late, plain, plain) as server:
        for kind in (NotFoundError, GatewayTimeoutError, DecodeError):
            with pytest.raises(kind):
                sync_stream(server.url).__enter__()
            with pytest.raises(kind):
                await async_stream(server.url).__aenter__()


async def test_leaving_early_closes_the_connection() -> None:
    gone: list[float] = []
    ready = threading.Event()

    def forever(connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"type":"token","data":{"token":"a"}}\n' * 3, end=False))
        connection.settimeout(5)
        if connection.recv(1) == b"":
            gone.append(time.monotonic())
        ready.set()

    with wire(forever) as server:
        with sync_stream(server.url) as stream:
            assert isinstance(next(stream), TokenEvent)
        assert ready.wait(5)
        assert list(stream) == []
        ready.clear()
        async with async_stream(server.url) as later:
            assert isinstance(await anext(later), TokenEvent)
        assert await asyncio.to_thread(ready.wait, 5)
        assert [event async for event in later] == []
        assert len(gone) == 2


async def test_closing_before_opening_never_connects() -> None:
    stream, later = sync_stream("http://127.0.0.1:1"), async_stream("http://127.0.0.1:1")
    stream.close()
    assert list(stream) == []
    await later.aclose()
    assert [event async for event in later] == []


async def test_closing_while_iterating_ends_the_iteration() -> None:
    async def connect() -> Pieces:
        return Pieces(COMPLETE)

    stream = streaming(COMPLETE)
    later: AsyncStream[CompleteEvent, CompleteResult] = AsyncStream(complete_call(), connect)
    read = 0
    for _ in stream:
        read += 1
        stream.close()
    async for _ in later:
        read += 1
        await later.aclose()
    assert read == 2


async def test_closing_while_it_opens_reads_nothing() -> None:
    pieces = [Pieces(COMPLETE), Pieces(COMPLETE)]

    def connect() -> Pieces:
        stream.close()
        return pieces[0]

    async def connect_later() -> Pieces:
        await later.aclose()
        return pieces[1]

    stream: Stream[CompleteEvent, CompleteResult] = Stream(complete_call(), connect)
    later: AsyncStream[CompleteEvent, CompleteResult] = AsyncStream(complete_call(), connect_later)
    assert list(stream) == []
    assert [event async for event in later] == []
    assert [each.closed for each in pieces] == [1, 1]


async def test_closing_from_elsewhere_ends_the_iteration() -> None:
    def forever(connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"type":"token","data":{"token":"a"}}\n', end=False))
        connection.settimeout(5)
        connection.recv(1)

    with wire(forever) as server:
        later = async_stream(server.url)
        assert isinstance(await anext(later), TokenEvent)
        rest = asyncio.create_task(_rest(later))
        await asyncio.sleep(0.05)
        await later.aclose()
        assert await asyncio.wait_for(rest, 60) == []
        stream = sync_stream(server.url)
        assert isinstance(next(stream), TokenEvent)
        reading = asyncio.create_task(asyncio.to_thread(list, stream))
        await asyncio.sleep(0.05)
        stream.close()
        assert await asyncio.wait_for(reading, 60) == []


async def test_closing_the_client_interrupts_a_stream_that_is_read() -> None:
    def forever(connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"type":"token","data":{"token":"a"}}\n', end=False))
        connection.settimeout(5)
        connection.recv(1)

    with wire(forever) as server:
        client = AsyncTurnwise(secret="s", base_url=server.url)
        stream = client.conversation.complete_stream("c", text="hi")
        assert isinstance(await anext(stream), TokenEvent)
        rest = asyncio.create_task(_rest(stream))
        await asyncio.sleep(0.05)
        await client.aclose()
        with pytest.raises(StreamInterrupted) as caught:
            await asyncio.wait_for(rest, 60)
        assert caught.value.text == "a"


async def _rest(stream: AsyncStream[CompleteEvent, CompleteResult]) -> list[CompleteEvent]:
    return [event async for event in stream]


async def test_cancelling_the_reader_closes_the_connection() -> None:
    gone = threading.Event()

    def forever(connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"type":"token","data":{"token":"a"}}\n', end=False))
        connection.settimeout(5)
        if connection.recv(1) == b"":
            gone.set()

    async def read() -> None:
        async with async_stream(server.url) as stream:
            async for _ in stream:
                reading.set()

    with wire(forever) as server:
        reading = asyncio.Event()
        task = asyncio.create_task(read())
        await reading.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 5)


@pytest.mark.parametrize(
    "timeout, kind",
    [(Timeout(idle=0.5), IdleTimeout), (0.5, TotalTimeout), (Timeout(idle=5, total=0.5), TotalTimeout)],
)
async def test_silence_in_a_stream_is_a_timeout(timeout: float | Timeout, kind: type[Exception]) -> None:
    def silent(connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"type":"token","data":{"token":"a"}}\n', end=False))
        connection.settimeout(5)
        connection.recv(1)

    with wire(silent) as server:
        with sync_stream(server.url, timeout=timeout) as stream, pytest.raises(kind):
            list(stream)
        assert stream.text == "a"
        async with async_stream(server.url, timeout=timeout) as later:
            with pytest.raises(kind):
                await later.until_done()
        assert later.text == "a"


def test_events_before_a_broken_line_are_not_lost() -> None:
    stream = streaming(b'{"type":"token","data":{"token":"a"}}\nbroken\n')
    assert isinstance(next(stream), TokenEvent)
    with pytest.raises(DecodeError):
        next(stream)
    assert stream.text == "a"


def test_a_transcript_of_nothing_opened_can_fail_too() -> None:
    with pytest.raises(StreamError) as caught:
        list(Transcript(complete_call())._read(b'{"type":"error","data":{"message":"m"}}\n'))
    assert caught.value.headers == {}
