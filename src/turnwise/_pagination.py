"""Pages of a list, and the walk over all of them.

The walk ends where the cursor is empty or missing, where a page has no items, and where a cursor comes again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Generic, TypeVar

from msgspec.structs import replace

from turnwise._call import PageCall
from turnwise._decode import Reply, decode_page
from turnwise.types._base import ResponseInfo

__all__ = ["AsyncPage", "Leaf", "Page"]

T = TypeVar("T")


def exchange_of(call: PageCall[T]) -> PageCall[T]:
    """Return `call` with its cursor among the query's parameters."""
    return call if call.cursor is None else replace(call, query={**call.query, "cursor": call.cursor})


class Leaf(Generic[T]):
    """One page: what it holds and which one follows."""

    def __init__(self, call: PageCall[T], reply: Reply, seen: frozenset[str] = frozenset()) -> None:
        self.items, cursor = decode_page(call.item, reply)
        self.response: ResponseInfo = reply.info
        self.cursor = cursor or None
        self._call = call
        self._seen = seen | {call.cursor} if call.cursor is not None else seen

    def following(self) -> PageCall[T] | None:
        """Return the call for the next page, if there is one."""
        if not self.items or self.cursor is None or self.cursor in self._seen:
            return None
        return replace(self._call, cursor=self.cursor)

    def turn(self, reply: Reply) -> Leaf[T]:
        """Return the next page from its answer."""
        return Leaf(replace(self._call, cursor=self.cursor), reply, self._seen)


class FetchedPage(ABC, Generic[T]):
    """What a page of either client tells."""

    @property
    @abstractmethod
    def _leaf(self) -> Leaf[T]: ...

    @property
    def items(self) -> list[T]:
        """The items of this page."""
        return self._leaf.items

    @property
    def cursor(self) -> str | None:
        """Where the next page begins, for `list(cursor)`; `None` after the last one."""
        return self._leaf.cursor

    @property
    def has_more(self) -> bool:
        """Whether another page may follow."""
        return self._leaf.following() is not None

    @property
    def response(self) -> ResponseInfo:
        """Status and headers of this page's answer."""
        return self._leaf.response

    @property
    def request_id(self) -> str | None:
        """The server's id of the request that this page answers."""
        return self.response.request_id


class Page(FetchedPage[T]):
    """One page of a list. Iterating yields its items and those of all pages after it."""

    def __init__(self, leaf: Leaf[T], fetch: Callable[[PageCall[T]], Reply]) -> None:
        self._fetched = leaf
        self._fetch = fetch

    def __repr__(self) -> str:
        return f"Page({len(self.items)} items, cursor={self.cursor!r})"

    def next_page(self) -> Page[T] | None:
        """Fetch the next page; `None` after the last one."""
        call = self._leaf.following()
        return None if call is None else Page(self._leaf.turn(self._fetch(call)), self._fetch)

    def __iter__(self) -> Generator[T, None, None]:
        page: Page[T] | None = self
        while page is not None:
            yield from page.items
            page = page.next_page()

    @property
    def _leaf(self) -> Leaf[T]:
        return self._fetched


class AsyncPage(FetchedPage[T]):
    """One page of a list, fetched when it is awaited. Iterating yields its items and those of all pages after it.

    `page = await client.list()` gives the page; `async for item in client.list()` walks over all.
    """

    def __init__(
        self, call: PageCall[T], fetch: Callable[[PageCall[T]], Awaitable[Reply]], leaf: Leaf[T] | None = None
    ) -> None:
        self._call = call
        self._fetch = fetch
        self._fetched = leaf

    def __repr__(self) -> str:
        if self._fetched is None:
            return "AsyncPage(not fetched yet: await it)"
        return f"AsyncPage({len(self.items)} items, cursor={self.cursor!r})"

    def __await__(self) -> Generator[object, None, AsyncPage[T]]:
        return self._load().__await__()

    async def next_page(self) -> AsyncPage[T] | None:
        """Fetch the next page; `None` after the last one."""
        await self._load()
        call = self._leaf.following()
        if call is None:
            return None
        return AsyncPage(call, self._fetch, self._leaf.turn(await self._fetch(call)))

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        page: AsyncPage[T] | None = await self._load()
        while page is not None:
            for item in page.items:
                yield item
            page = await page.next_page()

    async def _load(self) -> AsyncPage[T]:
        if self._fetched is None:
            self._fetched = Leaf(self._call, await self._fetch(self._call))
        return self

    @property
    def _leaf(self) -> Leaf[T]:
        if self._fetched is None:
            raise RuntimeError("This page is not fetched yet: await it, or iterate over it with `async for`")
        return self._fetched
