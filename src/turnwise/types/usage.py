"""Token and message counts."""

from __future__ import annotations

from turnwise.types._base import Result

__all__ = ["ConversationUsage", "ModelUsage", "Usage"]


class Usage(Result, frozen=True, kw_only=True, omit_defaults=False):
    """Tokens used in one exchange, input and output, summed over the model's turns."""

    token: int | float = 0


class ModelUsage(Result, frozen=True, kw_only=True, omit_defaults=False):
    """Tokens that one model turn used."""

    model: str = ""
    input_tokens_used: int | float = 0
    output_tokens_used: int | float = 0


class ConversationUsage(Result, frozen=True, kw_only=True, omit_defaults=False):
    """Sums over a conversation and a period."""

    tokens: int = 0
    messages: int = 0
