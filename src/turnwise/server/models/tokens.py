"""How many tokens a text has, where nobody counted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnwise.server.models.base import FunctionSpec

__all__ = ["MESSAGE_TOKENS", "estimate_functions", "estimate_tokens"]

MESSAGE_TOKENS = 4
"""What a message costs beside its text: its role, and the marks around it."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens `text` has, never fewer than 1 for any text at all.

    Four ASCII characters make a token; a character of two, three or four UTF-8 bytes counts for 5, 8 and 11 eighths
    of one. So English comes out at a quarter of its characters, Chinese or Japanese at about one a character.
    """
    if text.isascii():
        return (len(text) + 3) // 4
    characters = len(text)
    return (3 * len(text.encode("utf-8", "surrogatepass")) - characters + 7) // 8


def estimate_functions(functions: Sequence[FunctionSpec]) -> int:
    """Return about how many tokens it takes to offer `functions` to a model."""
    texts = (
        f"{function.name}{function.description}{msgspec.json.encode(function.parameters).decode()}"
        for function in functions
    )
    return sum(estimate_tokens(text) + MESSAGE_TOKENS for text in texts)
