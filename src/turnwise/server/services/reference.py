"""What a request may name that this server does not have: refused, never dropped in silence."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from turnwise.server.errors import NotFound, NotYetImplemented
from turnwise.server.services.functions import check_functions
from turnwise.types._base import OMIT
from turnwise.types.conversation import (
    BotFields,
    ContactInput,
    ConversationCompleteStatelessRequest,
    ExchangeFields,
)
from turnwise.types.extension import Extensions

__all__ = ["check_bot", "check_exchange", "without_extensions"]

X = TypeVar("X", bound=ExchangeFields)

NOUNS: Final = (
    ("bot_id", "botId", "bot"),
    ("dataset_id", "datasetId", "dataset"),
    ("skillset_id", "skillsetId", "skillset"),
)
UNBUILT_FIELDS: Final = ("privacy", "moderation")
UNBUILT_EXTENSIONS: Final = ("datasets", "skillsets", "features")


def check_bot(request: BotFields) -> None:
    """Refuse references to what does not exist (`NotFound`), and features that are not built."""
    for name, field, noun in NOUNS:
        identifier: object = getattr(request, name)
        if identifier:
            raise NotFound(f"{field}: there is no {noun} {identifier!r}. Leave the field out, or give a `backstory`.")
    for name in UNBUILT_FIELDS:
        if getattr(request, name):
            raise _unbuilt(name)


def check_exchange(request: ExchangeFields | ConversationCompleteStatelessRequest) -> None:
    """Refuse what an exchange may not ask for yet."""
    check_functions(request.functions)
    if isinstance(request.extensions, Extensions):
        for name in UNBUILT_EXTENSIONS:
            if getattr(request.extensions, name):
                raise _unbuilt(f"extensions.{name}")
    if isinstance(request, ConversationCompleteStatelessRequest):
        check_bot(request)
        if request.attachments:
            raise _unbuilt("attachments")
        if isinstance(request.contact_id, ContactInput):
            raise _unbuilt("contactId")


def without_extensions(request: X) -> X:
    """Return the request as a session token may make it: extensions are for account secrets alone."""
    return request if request.extensions is OMIT else msgspec.structs.replace(request, extensions=OMIT)


def _unbuilt(field: str) -> NotYetImplemented:
    return NotYetImplemented(f"{field}: this server cannot do that yet. Leave the field out to go on without it.")
