"""From a path to the application that answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from starlette.routing import compile_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PlainRouter"]


class PlainRouter:
    """Starlette's routing by paths, without what its router does for methods, mounts, slashes and typed variables."""

    def __init__(self, routes: Iterable[tuple[str, ASGIApp]], *, default: ASGIApp) -> None:
        """The first route whose path fits answers; `default` where none does."""
        self._routes = [(compile_path(path)[0], application) for path, application in routes]
        self._default = default

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let the application that the path belongs to answer, and tell it the path's variables."""
        path: str = scope["path"]
        for pattern, application in self._routes:
            found = pattern.match(path)
            if found is not None:
                scope["path_params"] = found.groupdict()
                return application(scope, receive, send)
        return self._default(scope, receive, send)
