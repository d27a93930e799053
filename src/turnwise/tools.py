"""Python callables as functions that a bot may call.

    >>> from typing import Annotated, Literal
    >>> from turnwise.tools import tool
    >>> @tool
    ... def weather(city: Annotated[str, "The city's name."], unit: Literal["C", "F"] = "C") -> dict[str, object]:
    ...     '''Tell the weather of a city.'''
    ...     return {"city": city, "degrees": 21, "unit": unit}
    >>> weather("Bath")
    {'city': 'Bath', 'degrees': 21, 'unit': 'C'}
    >>> weather.parameters["required"]
    ['city']

`client.conversation.run(id, text="...", tools=[weather])` lets the bot call it. A plain function with types and a
docstring needs no decorator there. What a model sees is the docstring up to its first section, and of each argument its
type, its default, and the text in `Annotated[..., "text"]`, in `msgspec.Meta(description=...)`, or under `Args:`.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, ParamSpec, TypeVar, cast, overload

from turnwise._schema import Docstring, Parameters, underlying
from turnwise.types._base import OMIT, Omit
from turnwise.types.event import CompleteEvent, StatelessCompleteEvent
from turnwise.types.function import FunctionDefinition, FunctionResult

if TYPE_CHECKING:
    from turnwise._params import FunctionParam

__all__ = [
    "RunEvent",
    "StatelessRunEvent",
    "Tool",
    "ToolCallEvent",
    "ToolCallFailed",
    "ToolCallFinished",
    "ToolCallStarted",
    "Toolbox",
    "tool",
]

P = ParamSpec("P")
R = TypeVar("R")

NAME = re.compile(r"(?!_)[A-Za-z$][A-Za-z0-9_$]*")
LONGEST_NAME = 64
TIMEOUT = 60.0
"""How long a call may take unless it is said otherwise, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallStarted:
    """The bot called a tool."""

    type: ClassVar[str] = "toolCallStarted"
    name: str
    arguments: object
    """As the model gave them; they may not fit."""
    id: str | None
    """The server's id of the call: the same one where it asks for a call again. The hosted service gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFinished:
    """A tool returned, and its result was published."""

    type: ClassVar[str] = "toolCallFinished"
    name: str
    arguments: object
    id: str | None
    result: object
    """As JSON: mappings, lists, strings, numbers, booleans and `None`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFailed:
    """A tool raised or took too long, its arguments did not fit, or its result could not be sent."""

    type: ClassVar[str] = "toolCallFailed"
    name: str
    arguments: object
    id: str | None
    message: str
    """What the model is told."""
    error: BaseException = field(compare=False)


ToolCallEvent = ToolCallStarted | ToolCallFinished | ToolCallFailed
RunEvent = CompleteEvent | ToolCallEvent
"""The events of `run_stream` with a conversation."""
StatelessRunEvent = StatelessCompleteEvent | ToolCallEvent
"""The events of `run_stream` without one."""


class Tool(Generic[P, R]):
    """A callable, and what a model must know to call it. It is still called as before."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None | Omit = OMIT,
    ) -> None:
        """Make a tool; `tool` says how. `timeout` is in seconds, `None` is none."""
        if not callable(function):
            raise TypeError(
                f"{function!r} cannot be called, so it is no tool: give a function with types and a docstring; what is "
                "only a definition goes into functions="
            )
        plain = underlying(function)
        functools.update_wrapper(self, plain)
        docstring = Docstring(inspect.getdoc(plain) if inspect.isroutine(plain) else None)
        self.name = _checked_name(name or cast("str", getattr(plain, "__name__", "")), function)
        self.description = description or docstring.description
        if not self.description:
            raise TypeError(
                f"the tool {self.name!r} has no description: write a docstring that tells the model when to call it, "
                "or pass description="
            )
        self._parameters = Parameters(self.name, function, docstring.arguments)
        self._function = function
        self.timeout = checked_limit(timeout)

    @property
    def parameters(self) -> dict[str, object]:
        """JSON Schema of the arguments."""
        return self._parameters.schema

    @property
    def is_async(self) -> bool:
        """Whether a call is to be awaited."""
        function = self._function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the callable itself."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name})"

    def call(self, arguments: object) -> object:
        """Call it with a model's arguments, which are checked first; the result of an async tool is to be awaited.

        Raises:
            msgspec.DecodeError: The arguments do not fit; the message says where.
        """
        return cast("Callable[..., object]", self._function)(**self._parameters.read(arguments))

    def definition(self, channel: str | Omit = OMIT) -> FunctionDefinition:
        """Return it as requests carry it, with the channel on which its results will be published."""
        return FunctionDefinition(
            name=self.name,
            description=self.description,
            parameters=self.parameters,
            result=OMIT if channel is OMIT else FunctionResult(channel=channel),
        )


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None | Omit = OMIT,
) -> Tool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, timeout: float | None | Omit = OMIT
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None | Omit = OMIT,
) -> object:
    """Make a callable a tool: `@tool`, `@tool(timeout=5)` or `tool(thing.method, name="look_up")`.

    Args:
        function: A function, async or not, a bound method, an object that can be called, or a `functools.partial` of
            one: the model knows nothing of the arguments that are filled in.
        name: What the model calls it; the function's own name unless given.
        description: What it does; the docstring up to its first section unless given.
        timeout: How long a call may take, in seconds; `None` is for ever. Unless given, as `run` says.

    Raises:
        TypeError: It has no description, or an argument without a type, or of one that JSON cannot hold.
        ValueError: Its name is none that models can use, or its time limit is none.
    """
    if function is None:
        return functools.partial(Tool[..., object], name=name, description=description, timeout=timeout)
    return Tool(function, name=name, description=description, timeout=timeout)


class Toolbox:
    """The tools of one exchange, each with a channel of its own, and the definitions of all functions.

    Raises:
        TypeError: `tools` is no sequence of callables.
        ValueError: Two functions have the same name.
    """

    def __init__(
        self, tools: Sequence[Callable[..., object]], functions: Sequence[FunctionParam] | None | Omit = OMIT
    ) -> None:
        if callable(tools) or isinstance(tools, str):
            raise TypeError(f"tools={tools!r} are not several: give a list, as in tools=[function]")
        made = [cast("Tool[..., object]", each) if isinstance(each, Tool) else Tool(each) for each in tools]
        self.tools: dict[str, Tool[..., object]] = {os.urandom(16).hex(): each for each in made}
        """By channel."""
        self.definitions: list[FunctionParam] = [each.definition(channel) for channel, each in self.tools.items()]
        self.definitions += functions or []
        names = [_name_of(each) for each in self.definitions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"there are two functions called {name!r}: give one another name, as in tool(name=...)"
                )


def _name_of(function: FunctionParam) -> object:
    return function.get("name") if isinstance(function, Mapping) else function.name


L = TypeVar("L", float | None, float | None | Omit)


def checked_limit(limit: L) -> L:
    """Return a time limit for calls.

    Raises:
        ValueError: It is no number of seconds above 0, and not `None`.
    """
    given = cast("object", limit)
    if given is not None and given is not OMIT and not (isinstance(given, (int, float)) and given > 0):
        raise ValueError(f"{limit!r} is no time limit of a tool: give seconds, more than 0, or None for no limit")
    return limit


def _checked_name(name: str, function: Callable[..., object]) -> str:
    if NAME.fullmatch(name) is None or len(name) > LONGEST_NAME:
        raise ValueError(
            f"{name or function!r} is no name for a tool: models take letters, digits, _ and $, up to {LONGEST_NAME}, "
            "and no digit or _ at the beginning; pass name="
        )
    return name
