"""Which pages of other origins may read answers. Errors are answers too."""

from __future__ import annotations

from typing import Final

from turnwise.server.exchange import Header

__all__ = ["Cors"]

ALLOWED: Final = b"Accept, Authorization, Content-Type, Idempotency-Key, X-Requested-With, X-Timezone"
EXPOSED: Final = (b"access-control-expose-headers", b"x-request-id, Retry-After, RateLimit, RateLimit-Policy")
PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", ALLOWED),
    (b"access-control-max-age", b"7200"),
)


class Cors:
    """The headers of cross-origin answers, for the origins that are allowed (`*`: every origin)."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._everybody: tuple[Header, ...] | None = None
        if "*" in origins:
            self._everybody = ((b"access-control-allow-origin", b"*"), EXPOSED)
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)

    def headers(self, origin: bytes | None, *, preflight: bool) -> tuple[Header, ...]:
        """Return the headers for an answer to a page of `origin`."""
        if self._everybody is not None:
            headers = self._everybody
        elif origin is not None and origin in self._origins:
            headers = ((b"access-control-allow-origin", origin), (b"vary", b"Origin"), EXPOSED)
        else:
            return ((b"vary", b"Origin"),)
        return headers + PREFLIGHT if preflight else headers
