"""What every client is: options, and a runner that performs calls under them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, overload

from turnwise._fetch import FetchOptions, exchange_of, read, stream_of
from turnwise._options import ClientOptions, OptionChanges
from turnwise._raw import RawResponse
from turnwise._runner import AsyncRunner, SyncRunner
from turnwise._shape import shows

if TYPE_CHECKING:
    from turnwise._options import Secret
    from turnwise._streaming import AsyncStream, Stream
    from turnwise.types.event import AnyEvent

__all__ = ["AsyncResource", "Resource", "over"]

T = TypeVar("T")
K = TypeVar("K", SyncRunner, AsyncRunner)
C = TypeVar("C", bound="Base[Any]")


class Base(Generic[K]):
    """A client of either kind."""

    _runner: K
    _owner: bool
    """Whether the connections were opened for this client; one that shares them does not close them."""

    @property
    def secret(self) -> Secret | None:
        """The account's secret or the session token; its repr does not show it."""
        return self._runner.options.secret

    @property
    def url(self) -> str:
        """The server's address, `base_url` with `host` and `protocol` applied."""
        return self._runner.options.base_url

    @shows(OptionChanges)
    def with_options(self, **changes: Unpack[OptionChanges]) -> Self:
        """Return a client with other options, over the same connections.

        `endpoints` and `headers` are merged key by key. The connections stay this client's: closing the other one
        closes nothing.
        """
        return over(type(self), self._runner.with_options(self._runner.options.extend(**changes)))

    @shows(OptionChanges)
    def extend(self, **changes: Unpack[OptionChanges]) -> Self:
        """Return a client with other options: `with_options`, as the Node client calls it."""
        return self.with_options(**changes)

    def __repr__(self) -> str:
        secret = "" if self.secret is None else f", secret={self.secret!r}"
        return f"{type(self).__name__}(base_url={self.url!r}{secret})"


def over(kind: type[C], runner: SyncRunner | AsyncRunner) -> C:
    """Return a client of this kind that shares a runner's connections."""
    client = kind.__new__(kind)
    vars(client).update(_runner=runner, _owner=False)
    return client


class Resource(Base[SyncRunner]):
    """A client that blocks. Safe to use from many threads; close it, or use it as a context manager."""

    @shows(OptionChanges)
    def __init__(self, **options: Unpack[OptionChanges]) -> None:
        """Make a client; `ClientOptions` says what each option is and what it is unless given."""
        self._runner = SyncRunner(ClientOptions.of(**options))
        self._owner = True

    @overload
    def client_fetch(self, path: str, /, **request: Unpack[FetchOptions]) -> object: ...
    @overload
    def client_fetch(self, path: str, /, *, result: type[T], **request: Unpack[FetchOptions]) -> T | RawResponse: ...
    @shows(FetchOptions)
    def client_fetch(self, path: str, /, *, result: type[object] = object, **request: Unpack[FetchOptions]) -> object:
        """Make a request that has no method of its own, such as `client_fetch("/api/v1/bot/list", query={"take": 5})`.

        Returns:
            What a JSON answer says, read as `result` where that is given; where the answer is not JSON a `RawResponse`,
            with its `content` and `response`.
        """
        return read(self._runner.fetch_raw(exchange_of(path, request)), result)

    @shows(FetchOptions)
    def client_fetch_stream(self, path: str, /, **request: Unpack[FetchOptions]) -> Stream[AnyEvent, None]:
        """Make a request as `client_fetch` does, and have its answer as a stream of events."""
        return self._runner.stream(stream_of(path, request))

    def close(self) -> None:
        """Close the connections, if they were opened for this client."""
        if self._owner:
            self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncResource(Base[AsyncRunner]):
    """An async client, for one event loop after another; close it, or use it as a context manager."""

    @shows(OptionChanges)
    def __init__(self, **options: Unpack[OptionChanges]) -> None:
        """Make a client; `ClientOptions` says what each option is and what it is unless given."""
        self._runner = AsyncRunner(ClientOptions.of(**options))
        self._owner = True

    @overload
    async def client_fetch(self, path: str, /, **request: Unpack[FetchOptions]) -> object: ...
    @overload
    async def client_fetch(
        self, path: str, /, *, result: type[T], **request: Unpack[FetchOptions]
    ) -> T | RawResponse: ...
    @shows(FetchOptions)
    async def client_fetch(
        self, path: str, /, *, result: type[object] = object, **request: Unpack[FetchOptions]
    ) -> object:
        """Make a request that has no method of its own, such as `client_fetch("/api/v1/bot/list", query={"take": 5})`.

        Returns:
            What a JSON answer says, read as `result` where that is given; where the answer is not JSON a `RawResponse`,
            with its `content` and `response`.
        """
        return read(await self._runner.fetch_raw(exchange_of(path, request)), result)

    @shows(FetchOptions)
    def client_fetch_stream(self, path: str, /, **request: Unpack[FetchOptions]) -> AsyncStream[AnyEvent, None]:
        """Make a request as `client_fetch` does, and have its answer as a stream of events."""
        return self._runner.stream(stream_of(path, request))

    async def aclose(self) -> None:
        """Close the connections, if they were opened for this client."""
        if self._owner:
            await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
