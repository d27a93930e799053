"""Streams of events: their lifetime, and what they add up to.

What a stream means is worked out once, in `Transcript`, from blocks of bytes and without I/O; `Stream` and
`AsyncStream` only fetch the blocks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import suppress
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from turnwise._call import StreamCall
from turnwise._decode import Reply
from turnwise._errors import STATUS_OF_CODE, ConnectionLost, DecodeError, StreamError, StreamInterrupted
from turnwise._events import EventDecoder, is_json, keep_data
from turnwise._lines import LineBuffer
from turnwise._transport.base import AsyncTransportResponse, TransportResponse
from turnwise.types._base import ResponseInfo, Result, keep, kept_source
from turnwise.types.event import (
    ErrorEvent,
    Event,
    ItemEvent,
    MessageEvent,
    NopEvent,
    PingEvent,
    ReasoningTokenEvent,
    ResultEvent,
    TokenEvent,
    UnknownEvent,
)
from turnwise.types.usage import Usage

if TYPE_CHECKING:
    from typing import Self

__all__ = ["AsyncStream", "Stream", "Transcript"]

T = TypeVar("T")
R = TypeVar("R")


class Transcript(Generic[T, R]):
    """What the events of a stream have said so far."""

    def __init__(self, call: StreamCall[T, R]) -> None:
        self._owes_result = call.result is not NoneType
        self._lines = LineBuffer()
        self._decoder = EventDecoder(call.events, owes_result=self._owes_result)
        self._tokens: list[str] = []
        self._message = ""
        self._reasoning: list[str] = []
        self._result: R | None = None
        self._done = False
        self._closed = False
        self._info: ResponseInfo | None = None

    @property
    def text(self) -> str:
        """The bot's message so far: its tokens; once it is finished, the message itself."""
        return "".join(self._tokens) or self._message

    @property
    def reasoning(self) -> str:
        """The tokens of the model's reasoning so far."""
        return "".join(self._reasoning)

    @property
    def result(self) -> R:
        """The stream's result; `None` for streams that just end.

        Raises:
            RuntimeError: the stream is not at its end.
        """
        if not self._done:
            raise RuntimeError("The stream is not at its end: read all its events, or call until_done()")
        return cast("R", self._result)

    @property
    def usage(self) -> Usage | None:
        """What the exchange used, once the result is here."""
        usage = getattr(self._result, "usage", None)
        return usage if isinstance(usage, Usage) else None

    @property
    def response(self) -> ResponseInfo | None:
        """Status and headers of the answer, once the stream is open."""
        return self._info

    @property
    def request_id(self) -> str | None:
        """The server's id of this request, once the stream is open."""
        return self._info.request_id if self._info is not None else None

    def _opened(self, response: TransportResponse | AsyncTransportResponse) -> None:
        self._info = ResponseInfo(response.status, response.headers)
        self._decoder.request_id = self._info.request_id

    def _read(self, block: bytes) -> Iterator[T]:
        """Yield the events that are whole with `block`."""
        lines = self._lines.feed(block)
        return self._heard(self._decoder.decode(lines)) if lines else iter(())

    def _finish(self) -> Iterator[T]:
        """Yield the event of a last line without a line break, then check that nothing is owed."""
        rest = self._lines.close()
        if rest.strip():
            if not is_json(rest):
                raise self._interrupted("The stream ended within a line")
            yield from self._heard(self._decoder.decode(rest))
        if self._owes_result and not self._done:
            raise self._interrupted("The stream ended without its result")
        self._done = True

    def _broken(self, error: ConnectionLost) -> StreamInterrupted | None:
        """Return what a broken connection means: nothing once the result is here, or once it was closed here."""
        if self._closed or (self._owes_result and self._done):
            return None
        return self._interrupted(error.message)

    def _interrupted(self, message: str) -> StreamInterrupted:
        return StreamInterrupted(message, text=self.text, request_id=self.request_id)

    def _heard(self, events: Iterable[Any]) -> Iterator[T]:
        hear = self._tokens.append
        for event in events:
            if type(event) is TokenEvent:
                hear(event.data.token)
            elif not self._notes(event):
                continue
            yield event  # pyright: ignore[reportReturnType] - the decoder made it of the call's own union

    def _notes(self, event: Event) -> bool:
        """Take in an event that is no token; return whether it is worth passing on."""
        match event:
            case ReasoningTokenEvent():
                self._reasoning.append(event.data.token)
            case PingEvent() | NopEvent() | UnknownEvent(type="ping" | "nop"):
                return False
            case MessageEvent() if event.data.type == "bot":
                self._message = event.data.text
                self._tokens.clear()
            case ItemEvent():
                keep_data(cast("ItemEvent[object]", event))
            case ResultEvent():
                self._conclude(cast("ResultEvent[object]", event))
            case ErrorEvent():
                raise self._failed(event, event.data.message, event.data.code)
            case UnknownEvent(type="error"):
                raise self._failed(event, *_message_and_code(event.data))
            case _:
                pass
        return True

    def _conclude(self, event: ResultEvent[object]) -> None:
        keep_data(event)
        if isinstance(event.data, Result):
            keep(event.data, None, self._info)
        self._result = cast("R", event.data)
        self._done = True
        text = getattr(event.data, "text", None)
        if isinstance(text, str):
            self._message = text
            self._tokens.clear()

    def _failed(self, event: Event, message: str, code: str | None) -> StreamError:
        return StreamError(
            message,
            status=STATUS_OF_CODE.get(code or "", 500),
            code=code or "GENERIC_ERROR",
            text=self.text,
            request_id=self.request_id,
            body=kept_source(event) or b"",
            headers=self._info.headers if self._info is not None else None,
        )


class Stream(Transcript[T, R]):
    """Iterates over the events of an answer as they arrive.

    Use it as a context manager: leaving it early closes the connection. It opens on entering, or on the first event.
    Iterating to the end closes it too.

    Raises:
        APIError: the server refused the request.
        StreamError: the server sent an error event; `text` holds what came before it.
        StreamInterrupted: the connection was cut, or the result never came; `text` holds what came.
        TimedOutError: the server was silent for too long; the stream's own `text` holds what came.
        DecodeError: a line is no event.
    """

    def __init__(self, call: StreamCall[T, R], connect: Callable[[], TransportResponse]) -> None:
        super().__init__(call)
        self._connect = connect
        self._source: TransportResponse | None = None
        self._events = self._flow()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self._events

    def __next__(self) -> T:
        return next(self._events)

    def until_done(self) -> R:
        """Read to the end and return the result."""
        for _ in self._events:
            pass
        return self.result

    def close(self) -> None:
        """Close the connection, if it is open; what has not been read never will be."""
        self._closed = True
        if self._source is not None:
            self._source.close()
        with suppress(ValueError):  # another thread is reading, and finds the connection closed
            self._events.close()

    def _open(self) -> TransportResponse:
        if self._source is None:
            self._source = self._connect()
            self._opened(self._source)
        return self._source

    def _flow(self) -> Generator[T, None, None]:
        source = self._open()
        try:
            if self._closed:  # by another thread, while it opened
                return
            for block in source.chunks():
                yield from self._read(block)
            yield from self._finish()
        except ConnectionLost as error:
            interrupted = self._broken(error)
            if interrupted is not None:
                raise interrupted from error
        finally:
            source.close()


class AsyncStream(Transcript[T, R]):
    """Iterates asynchronously over the events of an answer as they arrive.

    Use it as an asynchronous context manager: leaving it early closes the connection. It opens on entering, or on the
    first event. Iterating to the end closes it too, and so does cancelling the task that reads.

    Raises:
        APIError: the server refused the request.
        StreamError: the server sent an error event; `text` holds what came before it.
        StreamInterrupted: the connection was cut, or the result never came; `text` holds what came.
        TimedOutError: the server was silent for too long; the stream's own `text` holds what came.
        DecodeError: a line is no event.
    """

    def __init__(self, call: StreamCall[T, R], connect: Callable[[], Awaitable[AsyncTransportResponse]]) -> None:
        super().__init__(call)
        self._connect = connect
        self._source: AsyncTransportResponse | None = None
        self._events = self._flow()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._events

    async def __anext__(self) -> T:
        return await anext(self._events)

    async def until_done(self) -> R:
        """Read to the end and return the result."""
        async for _ in self._events:
            pass
        return self.result

    async def aclose(self) -> None:
        """Close the connection, if it is open; what has not been read never will be."""
        self._closed = True
        if self._source is not None:
            self._source.close()
        with suppress(RuntimeError):  # another task is reading, and finds the connection closed
            await self._events.aclose()

    async def _open(self) -> AsyncTransportResponse:
        if self._source is None:
            self._source = await self._connect()
            self._opened(self._source)
        return self._source

    async def _flow(self) -> AsyncGenerator[T, None]:
        source = await self._open()
        try:
            if self._closed:  # by another task, while it opened
                return
            async for block in source.achunks():
                for event in self._read(block):
                    yield event
            for event in self._finish():
                yield event
        except ConnectionLost as error:
            interrupted = self._broken(error)
            if interrupted is not None:
                raise interrupted from error
        finally:
            source.close()


def _message_and_code(data: object) -> tuple[str, str | None]:
    fields = cast("dict[str, object]", data) if isinstance(data, dict) else {}
    message, code = fields.get("message"), fields.get("code")
    return (str(message or "The server sent an error without a message"), str(code) if code else None)


def not_a_stream(reply: Reply) -> DecodeError:
    """Return the error that a plain JSON answer to a streamed request is."""
    return DecodeError(
        "The server answered with one JSON value where a stream was asked for",
        body=reply.body,
        request_id=reply.info.request_id,
    )
