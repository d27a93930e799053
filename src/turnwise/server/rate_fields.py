"""The header fields that tell of limits, as the IETF's draft on `RateLimit` has them (structured fields, both).

    RateLimit-Policy: "account-requests";q=6000;w=60
    RateLimit: "account-requests";r=5994;t=56

`q` may be used in any `w` seconds; `r` is left, and for `t` seconds that is all. What runs at once has no `w`.
"""

from __future__ import annotations

import math
from functools import cache

from turnwise.server.errors import LimitsReached
from turnwise.server.exchange import Header
from turnwise.server.services.meter import Left
from turnwise.server.services.use import Holder

__all__ = ["left", "reached"]


def left(found: Left) -> tuple[Header, Header]:
    """Return the fields of an answer: what is left of the requests."""
    name, policy = _policy(found.holder, found.limit)
    return policy, (b"ratelimit", b"%s;r=%d;t=%d" % (name, found.left, found.seconds))


@cache
def _policy(holder: Holder, limit: int) -> tuple[bytes, Header]:
    name = b'"%s-requests"' % holder.value.encode()
    return name, (b"ratelimit-policy", b"%s;q=%d;w=60" % (name, limit))


def reached(error: LimitsReached) -> list[Header]:
    """Return the fields of a refusal: the limit that was reached."""
    name = f'"{error.name}"'
    policy = f"{name};q={error.limit}" + (f";w={error.window}" if error.window is not None else "")
    seconds = math.ceil(error.retry_after or 1)
    return [
        (b"ratelimit-policy", policy.encode()),
        (b"ratelimit", f"{name};r={error.left};t={seconds}".encode()),
    ]
