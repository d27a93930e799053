"""From the `Accept` header to the form of an answer."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from turnwise.server.errors import BadRequest

__all__ = ["LISTED", "STREAMED", "Form", "negotiate"]

LONGEST: Final = 1000


class Form(Enum):
    """A form of an answer; the value is its media type."""

    __hash__ = object.__hash__  # Enum's own hashes the name anew each time
    JSON = "application/json"
    JSONL = "application/jsonl"
    SSE = "text/event-stream"
    CSV = "text/csv"


STREAMED: Final = (Form.JSON, Form.JSONL, Form.SSE)
"""The forms of an operation that streams."""

LISTED: Final = (Form.JSON, Form.JSONL, Form.SSE, Form.CSV)
"""The forms of a list."""


def negotiate(accept: bytes | None, forms: tuple[Form, ...]) -> Form:
    """Return the first of the media types accepted best that is one of `forms`. Raises `BadRequest` for none."""
    if not accept:
        return forms[0]
    form = _chosen(accept, forms) if len(accept) <= LONGEST else None
    if form is None:
        offered = ", ".join(form.value for form in forms)
        raise BadRequest(f"Accept: none of the accepted media types fits; this operation answers {offered}.")
    return form


@lru_cache(maxsize=256)
def _chosen(accept: bytes, forms: tuple[Form, ...]) -> Form | None:
    ranges = [_media_range(part) for part in accept.decode("latin-1").lower().split(",") if part.strip()]
    if not ranges:
        return forms[0]
    refused = {media_type for quality, media_type in ranges if quality <= 0}
    wanted = sorted(((quality, name) for quality, name in ranges if quality > 0), key=lambda pair: -pair[0])
    for _, media_type in wanted:
        for form in forms:
            if form.value not in refused and _covers(media_type, form.value):
                return form
    return None


def _media_range(part: str) -> tuple[float, str]:
    media_type, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            quality = _quality(value.strip())
    return quality, media_type.strip()


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return quality if 0 <= quality <= 1 else 1.0


def _covers(media_range: str, media_type: str) -> bool:
    if media_range in {media_type, "*/*", "*"}:
        return True
    kind, _, rest = media_range.partition("/")
    return rest == "*" and media_type.startswith(f"{kind}/")
