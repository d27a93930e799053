"""One way to call both clients, so that each scenario is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any, TypeVar

from turnwise import AsyncTurnwise, TokenEvent, Turnwise

__all__ = ["Awaiting", "Blocking", "Driver"]

T = TypeVar("T")


class Blocking:
    """Calls the blocking client by the names of its methods."""

    def __init__(self, **options: Any) -> None:
        self._stack = ExitStack()
        self.client = self._stack.enter_context(Turnwise(**options))
        self.root: Any = self.client.conversation

    def method(self, name: str, /) -> Callable[..., Any]:
        target: Any = self.root
        for part in name.split("."):
            target = getattr(target, part)
        found: Callable[..., Any] = target
        return found

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return self.method(name)(*args, **kwargs)

    def items(self, name: str, /, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self.method(name)(*args, **kwargs))

    def stream(self, name: str, /, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        with self.method(name)(*args, **kwargs) as stream:
            return list(stream), stream

    def leave_early(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        with self.method(name)(*args, **kwargs) as stream:
            for event in stream:
                if isinstance(event, TokenEvent):
                    break
        return stream

    def until(self, last: Callable[[Any], bool], name: str, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Return the events of a stream that is left at the one which is `last`."""
        found: list[Any] = []
        with self.method(name)(*args, **kwargs) as stream:
            for event in stream:
                found.append(event)
                if last(event):
                    break
        return found

    def call_while_streaming(self, streamed: str, name: str, conversation: str, **kwargs: Any) -> Any:
        """Call `name` after the first token of a stream of the same conversation, which stays open meanwhile."""
        with self.method(streamed)(conversation, **kwargs) as stream:
            for event in stream:
                if isinstance(event, TokenEvent):
                    return self.call(name, conversation, **kwargs)
        raise AssertionError("no token came")

    def with_options(self, **options: Any) -> Blocking:
        copy = Blocking.__new__(Blocking)
        copy._stack = self._stack
        copy.client = self.client.with_options(**options)
        copy.root = copy.client.conversation
        return copy

    def close(self) -> None:
        self._stack.close()


class Awaiting:
    """Calls the async client, in a loop of its own."""

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.client = self._loop.run(self._stack.enter_async_context(AsyncTurnwise(**options)))
        self.root: Any = self.client.conversation

    def method(self, name: str, /) -> Callable[..., Any]:
        target: Any = self.root
        for part in name.split("."):
            target = getattr(target, part)
        found: Callable[..., Any] = target
        return found

    def _run(self, make: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await make()

        return self._loop.run(awaited())

    def call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._run(lambda: self.method(name)(*args, **kwargs))

    def items(self, name: str, /, *args: Any, **kwargs: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [item async for item in self.method(name)(*args, **kwargs)]

        return self._run(collect)

    def stream(self, name: str, /, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        async def collect() -> tuple[list[Any], Any]:
            async with self.method(name)(*args, **kwargs) as stream:
                return [event async for event in stream], stream

        return self._run(collect)

    def leave_early(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        async def leave() -> Any:
            async with self.method(name)(*args, **kwargs) as stream:
                async for event in stream:
                    if isinstance(event, TokenEvent):
                        break
            return stream

        return self._run(leave)

    def until(self, last: Callable[[Any], bool], name: str, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Return the events of a stream that is left at the one which is `last`."""

        async def take() -> list[Any]:
            found: list[Any] = []
            async with self.method(name)(*args, **kwargs) as stream:
                async for event in stream:
                    found.append(event)
                    if last(event):
                        break
            return found

        return self._run(take)

    def call_while_streaming(self, streamed: str, name: str, conversation: str, **kwargs: Any) -> Any:
        """Call `name` after the first token of a stream of the same conversation, which stays open meanwhile."""

        async def both() -> Any:
            async with self.method(streamed)(conversation, **kwargs) as stream:
                async for event in stream:
                    if isinstance(event, TokenEvent):
                        return await self.method(name)(conversation, **kwargs)
            raise AssertionError("no token came")

        return self._run(both)

    def with_options(self, **options: Any) -> Awaiting:
        copy = Awaiting.__new__(Awaiting)
        copy._loop, copy._stack = self._loop, self._stack
        copy.client = self.client.with_options(**options)
        copy.root = copy.client.conversation
        return copy

    def close(self) -> None:
        self._loop.run(self._stack.aclose())
        self._loop.close()


Driver = Blocking | Awaiting
