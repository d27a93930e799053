"""What `client_fetch` sends and gives back, as it is."""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from turnwise._errors import DecodeError
from turnwise.types._base import ResponseInfo

__all__ = ["RawResponse", "form_of"]


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer without a type."""

    response: ResponseInfo
    """Status and headers."""
    content: bytes
    """The body, decompressed."""

    @property
    def request_id(self) -> str | None:
        """The server's id of the request this answers."""
        return self.response.request_id

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.content.decode(errors="replace")

    def json(self) -> object:
        """Return the body's JSON value.

        Raises:
            DecodeError: it is not JSON.
        """
        try:
            value: object = msgspec.json.decode(self.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise DecodeError(
                f"The answer is not JSON: {problem}", body=self.content, request_id=self.request_id
            ) from problem
        return value


def form_of(data: bytes, *, name: str = "blob", type: str = "application/octet-stream") -> tuple[bytes, str]:
    """Return a file as a multipart/form-data body and that body's content type; the part is called `file`."""
    boundary = f"----turnwise-{os.urandom(16).hex()}"
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        f"Content-Type: {' '.join(type.split())}\r\n\r\n"
    )
    return head.encode() + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
