"""What a list's query asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from turnwise.server.operation import Parameter
from turnwise.server.storage.base import Filter
from turnwise.types.conversation import Order

__all__ = ["PAGE_PARAMETERS", "alternatives", "meta_filter", "order_of", "take_of"]

PAGE_PARAMETERS: Final = (
    Parameter(name="cursor", description="The `cursor` of the page before; of a stream, the id of the last item seen."),
    Parameter(name="order", description="The order of creation.", choices=("asc", "desc")),
    Parameter(
        name="take",
        description="Items a page, from 1 to 100, 100 unless given; in a stream, items altogether, all unless given.",
        type="integer",
    ),
)
META: Final = re.compile(r"meta(?:\.(?P<dotted>.+)|\[(?P<bracketed>.+)\])", re.DOTALL)
LONGEST_NUMBER: Final = 9


def take_of(query: Mapping[str, str]) -> int | None:
    """Return how many items were asked for, at least 1; `None` for 0, nonsense, or nothing."""
    text = query.get("take", "").strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or not int(digits[:LONGEST_NUMBER]):
        return None
    return 1 if text.startswith("-") else int(digits[:LONGEST_NUMBER])


def order_of(query: Mapping[str, str], default: Order) -> Order:
    """Return the order that was asked for; `default` for nonsense."""
    match query.get("order"):
        case "asc":
            return "asc"
        case "desc":
            return "desc"
        case _:
            return default


def alternatives(query: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the ids in a comma-separated parameter, any of which will do."""
    return tuple(identifier for part in query.get(name, "").split(",") if (identifier := part.strip()))


def meta_filter(query: Mapping[str, str]) -> Filter:
    """Return the filters `meta.KEY=VALUE` and `meta[KEY]=VALUE`; `true` and `false` are booleans."""
    matches = ((META.fullmatch(name), value) for name, value in query.items())
    return {
        match["dotted"] or match["bracketed"]: {"true": True, "false": False}.get(value, value)
        for match, value in matches
        if match is not None
    }
