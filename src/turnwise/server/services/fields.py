"""Rules that fields of several requests share. Each refusal names the field's path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from turnwise.server.errors import BadRequest, ContentTooLarge
from turnwise.server.services.activity import check_activity
from turnwise.types._base import OMIT, Omit, Request
from turnwise.types.message import MessageInput

__all__ = ["check_messages", "check_meta", "check_text", "given", "given_fields"]

TEXT_BYTES: Final = 1_000_000
MESSAGES: Final = 1_000

T = TypeVar("T")


def given(value: T | None | Omit) -> T | None:
    """Return the value, or `None` where there is none."""
    return None if isinstance(value, msgspec.UnsetType) else value


def given_fields(request: Request, *names: str) -> dict[str, object]:
    """Return those of the fields that were given, by their Python names."""
    values = {name: getattr(request, name) for name in names}
    return {name: value for name, value in values.items() if value is not OMIT}


def check_text(text: str, path: str) -> None:
    """Refuse a text longer than a message may have: 1 MB of UTF-8."""
    if len(text) * 4 <= TEXT_BYTES:
        return
    size = len(text) if text.isascii() else len(text.encode())
    if size > TEXT_BYTES:
        raise ContentTooLarge(
            f"{path}: a message's text may have {TEXT_BYTES:,} bytes, this one has {size:,}. Split it over messages."
        )


def check_meta(meta: Mapping[str, object] | None | Omit, path: str) -> None:
    """Refuse keys that begin with an underscore: they are the server's."""
    if isinstance(meta, Mapping):
        for key in meta:
            if key.startswith("_"):
                raise BadRequest(f"{path}.{key}: keys that begin with `_` are reserved. Choose another name.")


def check_messages(messages: Sequence[MessageInput], path: str) -> None:
    """Refuse messages that could not be stored one by one."""
    if len(messages) > MESSAGES:
        raise BadRequest(
            f"{path}: {MESSAGES:,} messages may come at once, these are {len(messages):,}. "
            "Add the others with `message/create`."
        )
    for index, message in enumerate(messages):
        check_text(message.text, f"{path}[{index}].text")
        check_meta(message.meta, f"{path}[{index}].meta")
        check_activity(message.type, message.meta, f"{path}[{index}]")
