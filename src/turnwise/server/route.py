from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Match, Route

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["PlainRoute"]

NO_MATCH: Final[tuple[Match, Scope]] = (Match.NONE, {})


class PlainRoute(Route):
    """Starlette's route for an ASGI application, without what it does for methods, mounts, and variables with types."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return the path's variables, if the path fits."""
        found = self.path_regex.match(scope["path"])
        return NO_MATCH if found is None else (Match.FULL, {"path_params": found.groupdict()})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer."""
        await self.app(scope, receive, send)
