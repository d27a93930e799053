"""Answers to values and errors; nothing here performs I/O."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar, cast

import msgspec

from turnwise._errors import STATUS_OF_CODE, APIError, DecodeError, error_class
from turnwise._transport.base import AsyncTransportResponse, TransportResponse, WireRequest
from turnwise.types._base import ResponseInfo, Result, keep

__all__ = ["Page", "Reply", "api_error", "decode_page", "decode_result", "decoder_of", "disguised_error", "is_stream"]

T = TypeVar("T")

CONTENT_TOO_LARGE = "The request is too large for the server in front of the API"


class Reply(msgspec.Struct, frozen=True):
    """An answer whose body was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def info(self) -> ResponseInfo:
        """Status and headers."""
        return ResponseInfo(self.status, self.headers)


class Page(msgspec.Struct, frozen=True):
    """A page as it travels; each item as its own bytes."""

    items: list[msgspec.Raw] = []
    cursor: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    message: object = None
    code: object = None


@lru_cache(maxsize=256)
def decoder_of(kind: object) -> msgspec.json.Decoder[object]:
    """Return the one decoder of a type."""
    return cast("msgspec.json.Decoder[object]", msgspec.json.Decoder(kind))


_page = msgspec.json.Decoder(Page)
_error = msgspec.json.Decoder(_ErrorBody)


def decode_result(kind: type[T], reply: Reply) -> T:
    """Return the value of an answer, which remembers its bytes and the answer it came in.

    Raises:
        APIError: the body is an error in the guise of an answer.
        DecodeError: it is not what this operation answers.
    """
    error = disguised_error(reply)
    if error is not None:
        raise error
    result = _decoded(kind, reply.body, reply)
    if isinstance(result, Result):
        keep(result, reply.body, reply.info)
    return cast("T", result)


def decode_page(kind: type[T], reply: Reply) -> tuple[list[T], str | None]:
    """Return the items of a page, each of which remembers its own bytes, and the cursor."""
    error = disguised_error(reply)
    if error is not None:
        raise error
    try:
        page = _page.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise _undecodable(problem, reply) from problem
    return [_item(kind, bytes(raw), reply) for raw in page.items], page.cursor


def _item(kind: type[T], source: bytes, reply: Reply) -> T:
    item = _decoded(kind, source, reply)
    if isinstance(item, Result):
        keep(item, source)
    return cast("T", item)


def _decoded(kind: object, source: bytes, reply: Reply) -> object:
    try:
        return decoder_of(kind).decode(source)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise _undecodable(problem, reply) from problem


def _undecodable(problem: Exception, reply: Reply) -> DecodeError:
    kind = reply.headers.get("content-type", "no content type")
    return DecodeError(
        f"The answer ({reply.status}, {kind}) is not what this operation answers: {problem}",
        body=reply.body,
        request_id=reply.info.request_id,
    )


def api_error(reply: Reply, request: WireRequest) -> APIError:
    """Return the error that an answer other than 2xx is."""
    body = _error_body(reply.body)
    if body is None:
        code = "CONTENT_TOO_LARGE" if reply.status == 413 else "GENERIC_ERROR"
        message = CONTENT_TOO_LARGE if reply.status == 413 else _foreign(reply)
    else:
        code = str(body.code or f"ERROR_{reply.status}")
        message = str(body.message or f"{request.method} {request.path} failed without a message")
    return _error_of(reply.status, message, code, reply)


def _foreign(reply: Reply) -> str:
    if 300 <= reply.status < 400:
        return f"The server redirects to {reply.headers.get('location', 'nowhere')}; set base_url to where it lives"
    return f"The answer is an error ({reply.status}), but none of the API's: its body is not JSON"


def disguised_error(reply: Reply) -> APIError | None:
    """Return the error that an answer of 2xx is when its body holds just a message and a code.

    The hosted service begins a slow answer with 200 before it knows how it will end.
    """
    body = reply.body
    if len(body) > 10_000 or b'"code"' not in body or b'"message"' not in body:
        return None
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(fields, dict) or set(cast("dict[str, object]", fields)) != {"message", "code"}:
        return None
    code = str(cast("dict[str, object]", fields)["code"])
    message = str(cast("dict[str, object]", fields)["message"])
    return _error_of(STATUS_OF_CODE.get(code, reply.status), message, code, reply)


def _error_body(body: bytes) -> _ErrorBody | None:
    try:
        return _error.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _error_of(status: int, message: str, code: str, reply: Reply) -> APIError:
    return error_class(status)(
        message,
        status=status,
        code=code,
        request_id=reply.info.request_id,
        body=reply.body,
        headers=reply.headers,
    )


def is_stream(response: TransportResponse | AsyncTransportResponse) -> bool:
    """Return whether an answer to a streamed request is a stream; an error, or one in disguise, is not."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return 200 <= response.status < 300 and kind != "application/json"
