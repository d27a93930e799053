"""What a client says about its work, through the standard logger `turnwise`.

`TURNWISE_LOG=info` writes a line for each exchange to stderr, `debug` more. Neither shows a secret or a message's
text; `TURNWISE_LOG_BODIES=1` adds the bodies at `debug`, secrets and tokens masked.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from time import monotonic

from turnwise._transport.base import WireRequest

__all__ = ["ExchangeLog", "configure", "enabled", "logger"]

logger = logging.getLogger("turnwise")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(\"token\"\s*:\s*\")[^\"]{32,}|(?<=Bearer )[^\s\"]+")
"""Session tokens and bearer secrets, wherever they stand."""


def configure() -> None:
    """Follow `TURNWISE_LOG`: once a process, and only if it names a level."""
    level = LEVELS.get(os.environ.get("TURNWISE_LOG", "").lower())
    if level is None or any(handler.get_name() == "turnwise" for handler in logger.handlers):
        return
    handler = logging.StreamHandler()
    handler.set_name("turnwise")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)


def enabled() -> bool:
    """Return whether anybody listens."""
    return logger.isEnabledFor(logging.INFO)


class ExchangeLog:
    """Says what becomes of one request."""

    def __init__(self, request: WireRequest, secret: str | None) -> None:
        self._name = f"{request.method} {request.path}"
        self._request = request
        self._secret = secret
        self._bodies = os.environ.get("TURNWISE_LOG_BODIES") == "1"
        self._begun = 0.0

    def sends(self) -> None:
        """The request is about to be sent."""
        self._begun = monotonic()
        self._debug(f"{self._name} to {self._request.origin}", self._request.body)

    def answered(self, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """An answer came; `body` is None where it is read as a stream."""
        logger.info(
            "%s: %d after %.0f ms, %s, request %s",
            self._name,
            status,
            self._elapsed(),
            "a stream" if body is None else f"{len(body)} bytes",
            headers.get("x-request-id", "without an id"),
        )
        self._debug(f"{self._name}: the answer", body)

    def failed(self, error: Exception) -> None:
        """No answer came."""
        logger.info("%s: %s after %.0f ms", self._name, type(error).__name__, self._elapsed())

    def waits(self, seconds: float, error: Exception) -> None:
        """It will be tried again."""
        logger.info("%s: again in %.2f s, after %s", self._name, seconds, type(error).__name__)

    def _elapsed(self) -> float:
        return (monotonic() - self._begun) * 1000

    def _debug(self, message: str, body: bytes | None) -> None:
        if self._bodies and body:
            logger.debug("%s: %s", message, self._masked(body))
        else:
            logger.debug("%s", message)

    def _masked(self, body: bytes) -> str:
        text = body.decode(errors="replace")
        if self._secret:
            text = text.replace(self._secret, "***")
        return TOKEN.sub(lambda found: f"{found[1] or ''}***", text)
