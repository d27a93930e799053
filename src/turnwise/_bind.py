"""Turn endpoints, pure functions that return calls, into methods of a client.

`send = sync(send)` in the body of a class makes `client.send(...)` perform the call that `send(...)` returns, and type
checkers see the endpoint's own arguments with the call's result. The same function bound with `async_` is awaited,
with `sync_stream` and `async_stream` streamed. Every method also takes one mapping in the wire's own names in place of
its keywords: the two forms are the overloads of the protocols below.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from msgspec.structs import replace

from turnwise._call import Call, CallOptions, Exchange, PageCall, StreamableCall, StreamablePages, StreamCall
from turnwise._dispatch import (
    DispatchCall,
    DispatchStreamCall,
    ResumableCall,
    ResumableToolCall,
    ResumableToolStreamCall,
    ToolCall,
    ToolStreamCall,
)
from turnwise._shape import OPTIONS, Shape, merged

if TYPE_CHECKING:
    from turnwise._pagination import AsyncPage, Page
    from turnwise._resume import AsyncResumableStream, ResumableStream
    from turnwise._streaming import AsyncStream, Stream

__all__ = [
    "Json",
    "Method",
    "async_",
    "async_either",
    "async_either_dispatch",
    "async_either_stream",
    "async_stream",
    "sync",
    "sync_either",
    "sync_either_dispatch",
    "sync_either_stream",
    "sync_stream",
]

P = ParamSpec("P")
P1 = ParamSpec("P1")
P2 = ParamSpec("P2")
T = TypeVar("T")
E = TypeVar("E")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
R_co = TypeVar("R_co", covariant=True)
R1_co = TypeVar("R1_co", covariant=True)
R2_co = TypeVar("R2_co", covariant=True)
B_co = TypeVar("B_co", covariant=True)

Later = Coroutine[object, None, T]
"""What is to be awaited."""
Json = Mapping[str, object]
"""A request in the wire's own camelCase."""


class OfAll(Protocol[P, R_co]):
    """A method that needs no id: `create(...)`."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, request: Json, /, **options: Unpack[CallOptions]) -> R_co: ...


class OfConversation(Protocol[P, R_co]):
    """A method of one conversation: `send(id, ...)`."""

    @overload
    def __call__(self, conversation_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, conversation_id: str, request: Json, /, **options: Unpack[CallOptions]) -> R_co: ...


class OfMessage(Protocol[P, R_co]):
    """A method of one message: `message.update(id, id, ...)`."""

    @overload
    def __call__(self, conversation_id: str, message_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(
        self, conversation_id: str, message_id: str, request: Json, /, **options: Unpack[CallOptions]
    ) -> R_co: ...


class OfPages(Protocol[P, R_co]):
    """A walk over conversations, `list(...)`, or over the messages of one, `message.list(id, ...)`."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, request: Json, /, **options: Unpack[CallOptions]) -> R_co: ...
    @overload
    def __call__(self, conversation_id: str, request: Json, /, **options: Unpack[CallOptions]) -> R_co: ...


class OfEither(Protocol[P1, R1_co, P2, R2_co]):
    """A method without a conversation or of one: `complete(None, ...)` and `complete(id, ...)`."""

    @overload
    def __call__(self, conversation_id: None, /, *args: P1.args, **kwargs: P1.kwargs) -> R1_co: ...
    @overload
    def __call__(self, conversation_id: str, /, *args: P2.args, **kwargs: P2.kwargs) -> R2_co: ...
    @overload
    def __call__(self, conversation_id: None, request: Json, /, **options: Unpack[CallOptions]) -> R1_co: ...
    @overload
    def __call__(self, conversation_id: str, request: Json, /, **options: Unpack[CallOptions]) -> R2_co: ...


class Runs(Protocol):
    """What methods are bound to: a client, whose runner performs their calls."""

    @property
    def _runner(self) -> object: ...


_VERBS: dict[type[Exchange], str] = {
    Call: "run",
    StreamableCall: "run",
    PageCall: "pages",
    StreamablePages: "pages",
    StreamCall: "stream",
    DispatchCall: "run",
    ResumableCall: "run_resumably",
    ToolCall: "run_with_tools",
    ResumableToolCall: "run_with_tools",
    DispatchStreamCall: "stream_resumably",
    ToolStreamCall: "stream_with_tools",
    ResumableToolStreamCall: "stream_with_tools",
}


class Method(Generic[B_co]):
    """A descriptor whose bound methods are of type `B_co`.

    `inspect`, `help()` and editors see the endpoint: its arguments, its docstring and, as `__wrapped__`, its source.
    Given two endpoints, the first is for an id that is `None`.
    """

    __name__: str
    __qualname__: str

    def __init__(self, *endpoints: Callable[..., Exchange], awaited: bool = False, streamed: bool = False) -> None:
        self._shapes = [Shape(endpoint) for endpoint in endpoints]
        self._awaited = awaited
        self._streamed = streamed
        self.__wrapped__ = endpoints[-1]
        self.__doc__ = "\n\n".join(inspect.cleandoc(each.__doc__ or "") for each in endpoints)

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name
        self.__qualname__ = f"{owner.__qualname__}.{name}"
        self.__module__ = owner.__module__

    @overload
    def __get__(self, client: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, client: Runs, owner: type | None = None) -> B_co: ...
    def __get__(self, client: Runs | None, owner: type | None = None) -> Self | B_co:
        return self if client is None else cast("B_co", MethodType(self, client))

    @property
    def __signature__(self) -> inspect.Signature:
        """What `inspect.signature` shows, `self` included."""
        return merged([shape.signature(awaited=self._awaited, streamed=self._streamed) for shape in self._shapes])

    def __call__(self, client: Runs, /, *args: object, **kwargs: object) -> object:
        """Perform the call that the endpoint makes of these arguments."""
        call = self.build(*args, **kwargs)
        return getattr(client._runner, _VERBS[type(call)])(call)  # noqa: SLF001 - the client this is a method of

    def build(self, /, *args: object, **kwargs: object) -> Exchange:
        """Return the call that the endpoint makes of these arguments.

        Raises:
            TypeError: The arguments are not the endpoint's; the message says which are.
            ValueError: An id is empty or would change the path.
        """
        without_id = len(self._shapes) > 1 and args[:1] == (None,)
        shape = self._shapes[0] if without_id else self._shapes[-1]
        request = args[-1] if args else None
        extra: dict[str, object] = {}
        if ported := type(request) is not str and isinstance(request, Mapping):
            args = args[:-1]
            known, extra = shape.ported(self.__name__, cast("Json", request))
            kwargs = self._beside(known, kwargs)
        if not shape.fits(args, kwargs):
            raise self._misfit(shape, args, kwargs, ported=ported)
        call = shape.endpoint(*args, **kwargs)
        for name, value in zip(() if without_id else shape.ids, call.ids, strict=False):
            _check_id(self.__name__, name, value)
        if extra:
            call = _with_extra(call, extra)
        return cast("Streamable", call).stream() if self._streamed else call

    def _beside(self, known: dict[str, object], options: dict[str, object]) -> dict[str, object]:
        stray = next((each for each in options if each not in OPTIONS), None)
        if stray is not None:
            raise TypeError(
                f"{self.__name__}() takes a mapping in place of its keywords: put {stray!r} into the mapping, or give "
                "keywords alone"
            )
        return {**known, **options}

    def _misfit(self, shape: Shape, args: tuple[object, ...], kwargs: Json, *, ported: bool) -> TypeError:
        stray = next((each for each in kwargs if each not in shape.known), None)
        other = next((each for each in self._shapes if each is not shape and stray in each.known), None)
        if args and other is not None:
            form = "None" if other is self._shapes[0] else other.ids[0]
            return TypeError(f"{self.__name__}() takes {stray!r} only in the form {self.__name__}({form}, ...)")
        return shape.misfit(self.__name__, args, kwargs, ported=ported)


class Streamable(Protocol):
    """A call that can be had as a stream."""

    def stream(self) -> Exchange: ...


def _check_id(method: str, name: str, value: object) -> None:
    """Refuse what would reach another path than the one meant: `/conversation/../fetch`."""
    if not isinstance(value, str):
        raise TypeError(f"{method}() takes a str as {name}, not {type(value).__name__}")
    if value in {"", ".", ".."}:
        raise ValueError(f"{method}() got {value!r} as {name}; an id as the server made it was expected")


def _with_extra(call: Exchange, extra: Json) -> Exchange:
    place = "extra_query" if call.method == "GET" else "extra_body"
    options = cast("dict[str, object]", call.options)
    given = cast("Json", options.get(place, {}))
    return replace(call, options=cast("CallOptions", {**options, place: {**extra, **given}}))


# What takes two ids is also callable where one is asked for, hence the ignored overlaps: the longer form comes first.
@overload
def sync(  # pyright: ignore[reportOverlappingOverload]
    endpoint: Callable[Concatenate[str, str, P], Call[T]],
) -> Method[OfMessage[P, T]]: ...
@overload
def sync(endpoint: Callable[Concatenate[str, P], Call[T]]) -> Method[OfConversation[P, T]]: ...
@overload
def sync(endpoint: Callable[Concatenate[str, P], StreamCall[E, T]]) -> Method[OfConversation[P, Stream[E, T]]]: ...
@overload
def sync(endpoint: Callable[P, Call[T]]) -> Method[OfAll[P, T]]: ...
@overload
def sync(endpoint: Callable[P, PageCall[T]]) -> Method[OfPages[P, Page[T]]]: ...
def sync(endpoint: Callable[..., Exchange]) -> Method[object]:
    """Bind an endpoint to a client that blocks: its method returns the result, or a page that iterates over all."""
    return Method(endpoint)


@overload
def async_(  # pyright: ignore[reportOverlappingOverload]
    endpoint: Callable[Concatenate[str, str, P], Call[T]],
) -> Method[OfMessage[P, Later[T]]]: ...
@overload
def async_(
    endpoint: Callable[Concatenate[str, P], Call[T]],
) -> Method[OfConversation[P, Later[T]]]: ...
@overload
def async_(
    endpoint: Callable[Concatenate[str, P], StreamCall[E, T]],
) -> Method[OfConversation[P, AsyncStream[E, T]]]: ...
@overload
def async_(endpoint: Callable[P, Call[T]]) -> Method[OfAll[P, Later[T]]]: ...
@overload
def async_(endpoint: Callable[P, PageCall[T]]) -> Method[OfPages[P, AsyncPage[T]]]: ...
def async_(endpoint: Callable[..., Exchange]) -> Method[object]:
    """Bind an endpoint to an async client: its method is awaited; a walk over pages is awaited or iterated."""
    return Method(endpoint, awaited=True)


@overload
def sync_stream(
    endpoint: Callable[Concatenate[str, P], StreamableCall[T, E]],
) -> Method[OfConversation[P, Stream[E, T]]]: ...
@overload
def sync_stream(endpoint: Callable[P, StreamablePages[T, E]]) -> Method[OfPages[P, Stream[E, None]]]: ...
def sync_stream(endpoint: Callable[..., Exchange]) -> Method[object]:
    """Bind an endpoint to a client that blocks: its method returns a stream of events."""
    return Method(endpoint, streamed=True)


@overload
def async_stream(
    endpoint: Callable[Concatenate[str, P], StreamableCall[T, E]],
) -> Method[OfConversation[P, AsyncStream[E, T]]]: ...
@overload
def async_stream(endpoint: Callable[P, StreamablePages[T, E]]) -> Method[OfPages[P, AsyncStream[E, None]]]: ...
def async_stream(endpoint: Callable[..., Exchange]) -> Method[object]:
    """Bind an endpoint to an async client: its method returns a stream of events."""
    return Method(endpoint, awaited=True, streamed=True)


def sync_either(
    without: Callable[Concatenate[None, P1], Call[T1]], within: Callable[Concatenate[str, P2], Call[T2]]
) -> Method[OfEither[P1, T1, P2, T2]]:
    """Bind two endpoints to one method, which takes an id or `None`."""
    return Method(without, within)


def async_either(
    without: Callable[Concatenate[None, P1], Call[T1]], within: Callable[Concatenate[str, P2], Call[T2]]
) -> Method[OfEither[P1, Later[T1], P2, Later[T2]]]:
    """Bind two endpoints to one method, which takes an id or `None` and is awaited."""
    return Method(without, within, awaited=True)


def sync_either_stream(
    without: Callable[Concatenate[None, P1], StreamableCall[T1, E1]],
    within: Callable[Concatenate[str, P2], StreamableCall[T2, E2]],
) -> Method[OfEither[P1, Stream[E1, T1], P2, Stream[E2, T2]]]:
    """Bind two endpoints to one method, which takes an id or `None` and returns a stream of events."""
    return Method(without, within, streamed=True)


def async_either_stream(
    without: Callable[Concatenate[None, P1], StreamableCall[T1, E1]],
    within: Callable[Concatenate[str, P2], StreamableCall[T2, E2]],
) -> Method[OfEither[P1, AsyncStream[E1, T1], P2, AsyncStream[E2, T2]]]:
    """Bind two endpoints to one method, which takes an id or `None` and returns a stream of events."""
    return Method(without, within, awaited=True, streamed=True)


def sync_either_dispatch(
    without: Callable[Concatenate[None, P1], DispatchCall[T1, E1]],
    within: Callable[Concatenate[str, P2], DispatchCall[T2, E2]],
) -> Method[OfEither[P1, ResumableStream[E1, T1], P2, ResumableStream[E2, T2]]]:
    """Bind two endpoints of work in the background to one method, which follows it."""
    return Method(without, within, streamed=True)


def async_either_dispatch(
    without: Callable[Concatenate[None, P1], DispatchCall[T1, E1]],
    within: Callable[Concatenate[str, P2], DispatchCall[T2, E2]],
) -> Method[OfEither[P1, AsyncResumableStream[E1, T1], P2, AsyncResumableStream[E2, T2]]]:
    """Bind two endpoints of work in the background to one method, which follows it."""
    return Method(without, within, awaited=True, streamed=True)
