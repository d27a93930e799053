"""Requests by hand: any path of the API, or an address of somebody else's, with any kind of body."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import NotRequired, TypedDict, TypeVar, cast

from turnwise._call import CallOptions, Exchange, StreamCall
from turnwise._decode import Reply, decode_result
from turnwise._raw import RawResponse, form_of
from turnwise._shape import nearest
from turnwise.types.event import AnyEvent

__all__ = ["FetchOptions", "File", "exchange_of", "read", "stream_of"]

T = TypeVar("T")


class File(TypedDict):
    """A file to upload as multipart/form-data."""

    data: bytes | str
    name: NotRequired[str]
    """`blob` unless given, as browsers say."""
    type: NotRequired[str]
    """The media type; `application/octet-stream` unless given."""


class FetchOptions(CallOptions, total=False):
    """What `client_fetch` takes beside the path."""

    method: str | None
    """POST where there is a body, else GET, unless given."""
    query: Mapping[str, object] | None
    """A mapping in it is flattened: `{"meta": {"plan": "pro"}}` is `meta.plan=pro`."""
    record: Mapping[str, object] | None
    """A body to be sent as JSON."""
    buffer: bytes | None
    """A body to be sent as it is, as `application/octet-stream` unless `headers` say otherwise."""
    file: File | None
    """A body to be sent as a form with one field, `file`."""
    headers: Mapping[str, str] | None
    """They win over the client's own."""
    endpoint: str | None
    """The path template by which the option `endpoints` knows this path."""
    external: bool
    """Whether the request leaves for somebody else: without the secret and the run-as headers."""


def exchange_of(path: str, request: FetchOptions) -> Exchange:
    """Return the call that asks for `path`, a path of the API or a whole address.

    Raises:
        TypeError: A keyword is not known, or there are several bodies.
    """
    stray = next((name for name in request if name not in FetchOptions.__annotations__), None)
    if stray is not None:
        known = list(FetchOptions.__annotations__)
        raise TypeError(f"client_fetch() got an unexpected keyword argument {stray!r}{nearest(stray, known)}")
    record, buffer, file = request.get("record"), request.get("buffer"), request.get("file")
    given = [name for name in ("record", "buffer", "file") if request.get(name) is not None]
    if len(given) > 1:
        raise TypeError(f"a request has one body: give either {' or '.join(given)}")
    content, content_type = (buffer, "application/octet-stream") if file is None else _form(file)
    return Exchange(
        method=request.get("method") or ("POST" if given else "GET"),
        path=path,
        template=request.get("endpoint"),
        external=request.get("external", False),
        query=request.get("query") or {},
        body=record,
        content=content,
        content_type=content_type,
        options=_options(request),
    )


def stream_of(path: str, request: FetchOptions) -> StreamCall[AnyEvent, None]:
    """Return the call that asks for `path` as a stream of events."""
    asked = exchange_of(path, request)
    return StreamCall(
        method=asked.method,
        path=asked.path,
        template=asked.template,
        external=asked.external,
        query=asked.query,
        body=asked.body,
        content=asked.content,
        content_type=asked.content_type,
        options=asked.options,
        events=AnyEvent,
        result=NoneType,
    )


def read(raw: RawResponse, kind: type[T]) -> T | RawResponse:
    """Return what a JSON answer says, read as `kind`; any other answer as it is."""
    media_type = raw.response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        return raw
    return decode_result(kind, Reply(raw.response.status, raw.response.headers, raw.content))


def _options(request: FetchOptions) -> CallOptions:
    options = {name: value for name, value in request.items() if name in CallOptions.__annotations__}
    headers = {**(request.get("headers") or {}), **request.get("extra_headers", {})}
    return cast("CallOptions", {**options, "extra_headers": headers} if headers else options)


def _form(file: File) -> tuple[bytes, str]:
    data = file["data"]
    return form_of(
        data.encode() if isinstance(data, str) else data,
        name=file.get("name", "blob"),
        type=file.get("type", "application/octet-stream"),
    )
