"""The name of a model and the settings that travel with it, in one string: `name/key=value/key=value`.

Names may hold slashes: the settings begin at the first segment with an `=`. Settings that are zero, `False` or empty
travel like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict, Unpack

import msgspec

from turnwise.types._base import OMIT, Omit, Request

__all__ = ["Model", "ModelConfig", "ModelSettings"]


class ModelSettings(TypedDict, total=False):
    """The settings of a model, as keywords of `Model`."""

    max_tokens: int
    """The longest answer, in tokens."""
    temperature: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    interaction_max_messages: int
    """How many messages of the history the model is shown at most."""
    region: str


class ModelConfig(Request, frozen=True, kw_only=True):
    """The settings of a model, read from its string: `OMIT` where the model's own default is to hold."""

    max_tokens: int | Omit = OMIT
    temperature: float | Omit = OMIT
    frequency_penalty: float | Omit = OMIT
    presence_penalty: float | Omit = OMIT
    seed: int | Omit = OMIT
    interaction_max_messages: int | Omit = OMIT
    region: str | Omit = OMIT


_WIRE_NAMES = dict(zip(ModelConfig.__struct_fields__, ModelConfig.__struct_encode_fields__, strict=True))


class Model:
    """A model by name, with settings: `Model("gpt-4o", temperature=0)`, which travels as `gpt-4o/temperature=0`.

    Settings may also come as a mapping by their wire names, `Model("gpt-4o", {"maxTokens": 50})`; one that is `None`
    is left out, one that Turnwise does not know travels as it is. Models are equal when their strings are.

    Raises:
        TypeError: A keyword is no setting.
        ValueError: The string could not be read back: a name with an `=`, a value with a `/`.
    """

    __slots__ = ("_values", "name")

    def __init__(
        self, name: str, config: Mapping[str, object] | None = None, /, **settings: Unpack[ModelSettings]
    ) -> None:
        unknown = [key for key in settings if key not in _WIRE_NAMES]
        if unknown:
            raise TypeError(
                f"Model() got an unexpected setting {unknown[0]!r}; there are {', '.join(_WIRE_NAMES)}. A setting that "
                f"Turnwise does not know goes into a mapping by its wire name: Model({name!r}, {{...}})"
            )
        given = {**(config or {}), **{_WIRE_NAMES[key]: value for key, value in settings.items()}}
        if not name or "=" in name:
            raise ValueError(f"a model's name is not empty and has no '=', which {name!r} has not kept to")
        self.name = name
        self._values = {
            key: _text(key, value) for key, value in given.items() if value is not None and value is not OMIT
        }

    @classmethod
    def parse(cls, text: str, /) -> Model:
        """Read a model's string.

        Raises:
            ValueError: There is no name, a segment after the first setting has no `=`, or a setting has a value that
                it cannot have.
        """
        segments = text.split("/")
        begin = next((index for index, segment in enumerate(segments) if "=" in segment), len(segments))
        values: dict[str, object] = {}
        for segment in segments[begin:]:
            key, equals, value = segment.partition("=")
            if not (key and equals):
                raise ValueError(f"the model {text!r} goes on with {segment!r} where key=value was expected")
            values[key] = value
        model = cls("/".join(segments[:begin]), values)
        _ = model.config
        return model

    @property
    def config(self) -> ModelConfig:
        """The settings Turnwise knows, each with its type.

        Raises:
            ValueError: A setting has a value that it cannot have.
        """
        try:
            return msgspec.convert(self._values, ModelConfig, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"the model {str(self)!r} has a setting that cannot be read: {error}") from error

    @property
    def extra(self) -> dict[str, str]:
        """The settings Turnwise does not know, by their wire names."""
        known = _WIRE_NAMES.values()
        return {key: value for key, value in self._values.items() if key not in known}

    def __str__(self) -> str:
        return "/".join([self.name, *(f"{key}={value}" for key, value in self._values.items())])

    def __repr__(self) -> str:
        return f"Model.parse({str(self)!r})" if self._values else f"Model({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


def _text(key: str, value: object) -> str:
    """Write a setting as JavaScript writes it into a string, for that is what the wire's other users send."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
        case str() if "/" not in value:
            return value
        case _:
            raise ValueError(f"a model's setting is a number, a boolean or a text without '/'; {key} is {value!r}")


def _number(value: float) -> str:
    """Write a float as JavaScript does: no `.0`, exponents only below 1e-6 and from 1e21 on."""
    if not math.isfinite(value):
        raise ValueError(f"a model's setting is a finite number, not {value!r}")
    if not value:
        return "0"
    if not 1e-6 <= abs(value) < 1e21:
        mantissa, _, exponent = f"{value!r}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"
    text = repr(value)
    if "e" in text:
        from decimal import Decimal

        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")
