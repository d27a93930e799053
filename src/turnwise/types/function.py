"""Functions a conversation may call."""

from __future__ import annotations

from turnwise.types._base import OMIT, Omit, Request

__all__ = ["FunctionCall", "FunctionDefinition", "FunctionResult"]


class FunctionResult(Request, frozen=True, kw_only=True):
    """Where a call's result comes from: `data` answers it at once, `channel` names where it will be published."""

    data: object | Omit = OMIT
    channel: str | Omit = OMIT


class FunctionCall(Request, frozen=True, kw_only=True):
    """When the function is called without the model's asking."""

    start: bool | Omit = OMIT
    end: bool | Omit = OMIT


class FunctionDefinition(Request, frozen=True, kw_only=True):
    """A function offered to the model."""

    name: str
    description: str
    parameters: dict[str, object]
    """JSON Schema of the arguments, an object."""
    result: FunctionResult | None | Omit = OMIT
    """Without it the completion ends with reason `activity`, and the caller answers the call."""
    call: FunctionCall | None | Omit = OMIT
