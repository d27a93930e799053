"""What every wire type shares: names, absence, and the bytes it was read from.

A wire type is a frozen struct, snake_case in Python and camelCase on the wire. Fields that are `OMIT` (requests)
or `None` (results) are left out of the JSON. What an answer holds beyond the declared fields is kept: a result
keeps the bytes it was decoded from and reads the rest from them when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec

__all__ = ["OMIT", "Milliseconds", "Omit", "Request", "ResponseInfo", "Result", "Wire"]

Omit = msgspec.UnsetType
"""The type of `OMIT`."""

OMIT: Final = msgspec.UNSET
"""Stands for an argument that was not given. Different from `None`, which travels as `null`."""

Milliseconds = int | float
"""A moment, in milliseconds since 1970-01-01T00:00:00Z."""


class ResponseInfo(msgspec.Struct, frozen=True):
    """The status and the headers (names in lower case) an answer came with."""

    status: int
    headers: Mapping[str, str]

    @property
    def request_id(self) -> str | None:
        """The server's `x-request-id`: name it when you report a problem."""
        return self.headers.get("x-request-id")


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, repr_omit_defaults=True):
    """A JSON object of the API."""

    def to_dict(self) -> dict[str, object]:
        """Return the object as it stands on the wire: camelCase keys, absent fields left out."""
        return cast("dict[str, object]", msgspec.to_builtins(self))

    def to_json(self) -> str:
        """Return the object as JSON text, as it stands on the wire."""
        return msgspec.json.encode(self).decode()


class Request(Wire, frozen=True, kw_only=True):
    """The body of a request. A field that is `OMIT` is not sent; `None` is sent as `null`."""


class Result(Wire, frozen=True, kw_only=True, dict=True):
    """An object of an answer. Unknown fields are kept in `extra`, and in `to_dict()` and `to_json()`."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the fields together with the kept bytes and the response."""
        kept = {name: self.__dict__[name] for name in ("_source", "_response") if name in self.__dict__}
        return _restore, (type(self), tuple(getattr(self, name) for name in self.__struct_fields__), kept)

    @property
    def response(self) -> ResponseInfo | None:
        """Status and headers of the answer, where this object is the whole answer; else `None`."""
        return cast("ResponseInfo | None", self.__dict__.get("_response"))

    @property
    def request_id(self) -> str | None:
        """The server's id of the request this answers, if this object is the whole answer."""
        return self.response.request_id if self.response is not None else None

    @property
    def extra(self) -> dict[str, object]:
        """The fields of the answer that this version of Turnwise does not declare, by their wire names."""
        source = kept_source(self)
        if source is None:
            return {}
        known = set(self.__struct_encode_fields__)
        tag = self.__struct_config__.tag_field
        return {key: value for key, value in _object(source).items() if key not in known and key != tag}

    def to_dict(self) -> dict[str, object]:
        """Return the object as it stood on the wire, unknown fields included."""
        source = kept_source(self)
        return _object(source) if source is not None else super().to_dict()

    def to_json(self) -> str:
        """Return the object as JSON text, unknown fields included."""
        source = kept_source(self)
        return source.decode() if source is not None else super().to_json()


def kept_source(result: Result) -> bytes | None:
    """Return the bytes that `result` was decoded from, if it was."""
    return cast("bytes | None", result.__dict__.get("_source"))


def keep(result: Result, source: bytes | None, response: ResponseInfo | None = None) -> None:
    """Let `result` remember the bytes it was decoded from, and the answer it came in."""
    if source is not None:
        vars(result)["_source"] = source
    if response is not None:
        vars(result)["_response"] = response


def _object(source: bytes) -> dict[str, object]:
    return cast("dict[str, object]", msgspec.json.decode(source))


def _restore(cls: type[Result], values: tuple[object, ...], kept: dict[str, object]) -> Result:
    result = cls(**dict(zip(cls.__struct_fields__, values, strict=True)))
    vars(result).update(kept)
    return result
