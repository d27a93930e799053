"""The terms a conversation is found by: the ids it refers to, and the values in its meta.

A term is a name, a value as text, and the kinds of JSON value it was: so a filter that came from a query string finds
the number 5 and the string "5" alike, and one that asks for a boolean finds only booleans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from turnwise.server.storage.base import ConversationQuery
from turnwise.types.conversation import Conversation

__all__ = ["Condition", "Terms", "conditions", "terms"]

Scalar = str | bool | int | float

Terms = dict[tuple[str, str], int]
"""Kinds, by name and value."""

TEXT: Final = 1
NUMBER: Final = 2
TRUTH: Final = 4

LONGEST: Final = 200
"""Characters of a name or value that are indexed as they are; longer ones are indexed by their hash."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A conversation must have one of these values under this name, as one of these kinds."""

    name: str
    values: tuple[str, ...]
    kinds: int


def terms(conversation: Conversation) -> Terms:
    """Return the terms of a conversation."""
    found: Terms = {}
    references = (
        ("botId", conversation.bot_id),
        ("contactId", conversation.contact_id),
        ("taskId", conversation.task_id),
    )
    for name, value in references:
        if value is not None:
            found[name, _short(value)] = TEXT
    for path, value, kind in _leaves("meta", conversation.meta or {}):
        term = _short(path), _short(value)
        found[term] = found.get(term, 0) | kind
    return found


def conditions(query: ConversationQuery) -> list[Condition]:
    """Return what a query asks of a conversation; all conditions must hold."""
    references = (("botId", query.bot_ids), ("contactId", query.contact_ids), ("taskId", query.task_ids))
    asked = [Condition(name, tuple(dict.fromkeys(map(_short, ids))), TEXT) for name, ids in references if ids]
    for path, value in query.meta.items():
        text, kind = _written(value)
        kinds = TEXT | NUMBER | TRUTH if kind == TEXT else kind
        asked.append(Condition(_short(f"meta.{path}"), (_short(text),), kinds))
    return asked


def _leaves(path: str, value: object) -> Iterator[tuple[str, str, int]]:
    """Walk nested objects; null and arrays are not found by."""
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, object]", value).items():
            yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, Scalar):
        yield path, *_written(value)


def _written(value: Scalar) -> tuple[str, int]:
    """Return a value as text, numbers as JSON writes them (5.0 as 5), with its kind."""
    match value:
        case str():
            return value, TEXT
        case bool():
            return ("true" if value else "false"), TRUTH
        case float() if value.is_integer():
            return str(int(value)), NUMBER
        case _:
            return msgspec.json.encode(value).decode(), NUMBER


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else "sha256:" + hashlib.sha256(text.encode()).hexdigest()
