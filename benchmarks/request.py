"""What our client sends, so that a bare library can send the same."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec
import urllib3

__all__ = ["CONVERSATION", "TEXT", "RecordedRequest", "recorded_request"]

CONVERSATION = "c0123456789abcdefghij"
TEXT = "When do you open?"
BY_THE_LIBRARY = {"host", "content-length", "connection"}


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A `send` as the mock server saw it."""

    url: str
    headers: dict[str, str]
    body: bytes


def recorded_request(base_url: str) -> RecordedRequest:
    """Return the last request the mock server answered, without the headers every library sets by itself."""
    response = urllib3.request("GET", f"{base_url}/recorded")
    head: str = json.loads(response.data)
    request_line, *fields = head.split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return RecordedRequest(
        url=base_url + request_line.split(" ")[1],
        headers={name: value for name, value in headers.items() if name.lower() not in BY_THE_LIBRARY},
        body=msgspec.json.encode({"text": TEXT}),
    )
