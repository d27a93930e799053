"""The functions of a request: what may be defined, and what a model is told of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from turnwise.server.errors import BadRequest
from turnwise.server.models.base import FunctionSpec
from turnwise.server.services.arguments import ArgumentsError, SchemaError, read_arguments, validator_of
from turnwise.server.services.fields import given
from turnwise.types._base import OMIT, Omit
from turnwise.types.function import FunctionCall, FunctionDefinition, FunctionResult

__all__ = ["FunctionSet", "check_functions"]

NAME: Final = re.compile(r"(?!_)[A-Za-z$][A-Za-z0-9_$]*")
LONGEST_NAME: Final = 64
SHORTEST_CHANNEL: Final = 16
MOST: Final = 128
"""What OpenAI's own server takes."""

Definitions = Sequence[FunctionDefinition] | None | Omit


class FunctionSet:
    """The functions of a request that `check_functions` let pass, by name."""

    def __init__(self, definitions: Definitions = None) -> None:
        self._functions = {function.name: function for function in given(definitions) or ()}
        self.specs: Sequence[FunctionSpec] = tuple(
            FunctionSpec(name=function.name, description=function.description, parameters=function.parameters)
            for function in self._functions.values()
        )
        """For the prompt."""
        self.start: Sequence[str] = self._called("start")
        """The names of those that are called before the model is asked freely, in order."""
        self.end: Sequence[str] = self._called("end")
        """The names of those that are called when the model has ended, in order."""

    def __len__(self) -> int:
        return len(self._functions)

    def get(self, name: str) -> FunctionDefinition | None:
        """Return the function of that name, if there is one."""
        return self._functions.get(name)

    def arguments_of(self, name: str, text: str) -> Mapping[str, object] | ArgumentsError:
        """Return a call's arguments, or what the model is told in their place, so that it can mend its call."""
        function = self._functions.get(name)
        if function is None:
            return ArgumentsError(f"There is no function {name!r}. {self._names()}")
        return read_arguments(name, function.parameters, text)

    def _called(self, when: str) -> Sequence[str]:
        return tuple(
            function.name
            for function in self._functions.values()
            if isinstance(function.call, FunctionCall) and getattr(function.call, when) is True
        )

    def _names(self) -> str:
        names = ", ".join(self._functions)
        return f"There are: {names}." if names else "There are no functions; answer without one."


def check_functions(definitions: Definitions, path: str = "$.functions") -> None:
    """Refuse definitions that cannot be: names, doubles, schemas, results, channels. Each refusal names its path."""
    functions = given(definitions)
    if not functions:
        return
    if len(functions) > MOST:
        raise BadRequest(
            f"{path}: {MOST} functions may be offered at once, these are {len(functions)}. Leave some out."
        )
    seen: dict[str, int] = {}
    for index, function in enumerate(functions):
        at = f"{path}[{index}]"
        _check_name(function.name, f"{at}.name")
        if function.name in seen:
            earlier = f"{path}[{seen[function.name]}]"
            raise BadRequest(f"{at}.name: {function.name!r} is the name of {earlier} too. Names must differ.")
        seen[function.name] = index
        _check_parameters(function.parameters, f"{at}.parameters")
        if isinstance(function.result, FunctionResult):
            _check_result(function.result, f"{at}.result")


def _check_name(name: str, path: str) -> None:
    if len(name) > LONGEST_NAME:
        raise BadRequest(f"{path}: it has {len(name)} characters; {LONGEST_NAME} is the most. Choose a shorter one.")
    if not NAME.fullmatch(name):
        raise BadRequest(
            f"{path}: {name!r} is no name of a function. It begins with a letter or $, and letters, digits, _ and $ "
            "may follow."
        )


def _check_parameters(parameters: Mapping[str, object], path: str) -> None:
    if parameters.get("type") != "object":
        raise BadRequest(
            f'{path}.type: expected "object"; arguments are an object by their names. Without parameters it is '
            '{"type": "object", "properties": {}}.'
        )
    try:
        validator_of(parameters)
    except SchemaError as error:
        raise BadRequest(f"{path}{error.path}: {error.problem}") from None


def _check_result(result: FunctionResult, path: str) -> None:
    match result.data, result.channel:
        case msgspec_data, str() as channel if msgspec_data is OMIT:
            if len(channel) < SHORTEST_CHANNEL:
                raise BadRequest(
                    f"{path}.channel: {len(channel)} characters; at least {SHORTEST_CHANNEL} are needed, and random "
                    "ones, so that nobody guesses it."
                )
        case data, channel if data is not OMIT and channel is OMIT:
            pass
        case _:
            raise BadRequest(
                f"{path}: expected either `data` (the result itself) or `channel` (where it will be published), and "
                "not both. Leave `result` out to answer the call yourself."
            )
