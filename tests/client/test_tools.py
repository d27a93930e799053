from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypedDict, TypeVar

import msgspec
import pytest

from turnwise import Turnwise
from turnwise._schema import Docstring
from turnwise.tools import Tool, Toolbox, tool
from turnwise.types._base import OMIT
from turnwise.types.function import FunctionDefinition, FunctionResult

T = TypeVar("T")


class Place(msgspec.Struct):
    """Somewhere."""

    x: int
    name: Annotated[str, msgspec.Meta(description="What it is called.")] = "here"


@dataclasses.dataclass
class Trip:
    to: Place
    days: int = 1


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


class Opaque:
    """Nothing that JSON knows."""


def weather(  # noqa: D417 - the others are described where they are annotated
    city: Annotated[str, "The city's name."],
    days: Annotated[int, msgspec.Meta(ge=1, description="How many days ahead.")] = 1,
    unit: Literal["C", "F"] = "C",
    near: Place | None = None,
    detail: Optional[Annotated[bool, "Whether to be long."]] = None,  # noqa: UP045 - as many people write it
) -> str:
    """Tell the weather.

    For the coming days.

    Args:
        city: Not this one, the annotation wins.
        unit (str): Degrees in
            this unit.
        near: A place close by.

    Returns:
        A sentence.
    """
    return f"{city} {days} {unit} {near} {detail}"


def plain(value: int) -> int:
    """Give it back."""
    return value


def travel(trip: Trip, unit: Unit, day: date, more: dict[str, object], places: list[Place]) -> object:
    """Travel."""
    return [trip, unit, day, more, places]


class Thing:
    def method(self, value: int) -> int:
        """Do what a method does."""
        return value + 1

    def __call__(self, value: int) -> int:
        return value + 2


class Awaited:
    async def __call__(self, value: int) -> int:
        return value


# Schema.


def test_a_schema_tells_types_descriptions_defaults_and_what_is_required() -> None:
    assert Tool(weather).parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's name."},
            "days": {"type": "integer", "minimum": 1, "description": "How many days ahead.", "default": 1},
            "unit": {"enum": ["C", "F"], "description": "Degrees in this unit.", "default": "C"},
            "near": {
                "anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}],
                "description": "A place close by.",
                "default": None,
            },
            "detail": {
                "anyOf": [{"type": "boolean"}, {"type": "null"}],
                "description": "Whether to be long.",
                "default": None,
            },
        },
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "title": "Place",
                "description": "Somewhere.",
                "type": "object",
                "properties": {
                    "x": {"type": "integer"},
                    "name": {"type": "string", "description": "What it is called.", "default": "here"},
                },
                "required": ["x"],
            }
        },
    }


def test_a_description_is_the_docstring_up_to_its_sections() -> None:
    assert Tool(weather).description == "Tell the weather.\n\nFor the coming days."


def test_structs_dataclasses_enums_dates_and_any_json_are_described_and_read() -> None:
    made = Tool(travel)
    properties: Any = made.parameters["properties"]
    assert properties["trip"] == {"$ref": "#/$defs/Trip"}
    assert properties["unit"] == {"$ref": "#/$defs/Unit"}
    assert properties["day"] == {"type": "string", "format": "date"}
    assert made.parameters["required"] == ["trip", "unit", "day", "more", "places"]
    given = {"trip": {"to": {"x": 1}}, "unit": "F", "day": "2026-11-22", "more": {"a": [1, None]}, "places": [{"x": 2}]}
    assert made.call(given) == [
        Trip(Place(1)),
        Unit.FAHRENHEIT,
        date(2026, 11, 22),
        {"a": [1, None]},
        [Place(2)],
    ]


class Range(TypedDict, total=False):
    low: Annotated[float, "The least."]
    high: NotRequired[Annotated[float, "The most."]]


@dataclasses.dataclass
class Filter(Generic[T]):
    prices: dict[str, Range]
    only: Annotated[T | None, "Nothing else."] = None


class Query(msgspec.Struct, rename="camel"):
    sort_by: Annotated[str, "A column's name."]
    narrower: list[Query] = []
    filters: Filter[int] | None = None


def test_texts_at_fields_reach_the_model_however_deep_they_are() -> None:
    def search(query: Query) -> Query:
        """Search."""
        return query

    parts: Any = tool(search).parameters["$defs"]
    texts = {(part, name): field["description"] for part in parts for name, field in described(parts[part])}
    assert texts == {
        ("Query", "sortBy"): "A column's name.",
        ("Filter_int_", "only"): "Nothing else.",
        ("Range", "low"): "The least.",
        ("Range", "high"): "The most.",
    }


def described(part: Any) -> list[tuple[str, Any]]:
    return [(name, field) for name, field in part["properties"].items() if "description" in field]


def test_keys_of_a_mapping_are_read_as_what_they_are() -> None:
    def total(by_year: dict[int, float]) -> dict[int, float]:
        """Sum up."""
        return by_year

    assert tool(total).call({"by_year": {"2026": 1.5}}) == {2026: 1.5}


def test_a_schema_without_arguments_is_an_empty_object() -> None:
    def now() -> str:
        """Tell the time."""
        return "noon"

    assert Tool(now).parameters == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert Tool(now).call({}) == "noon"


def test_a_default_that_json_cannot_hold_is_left_out_and_still_used() -> None:
    nothing = Opaque()

    def look(value: int = 3, where: object = nothing) -> object:
        """Look."""
        return value, where

    properties: Any = Tool(look).parameters["properties"]
    assert properties["value"]["default"] == 3
    assert "default" not in properties["where"]
    assert Tool(look).call({}) == (3, nothing)


def test_a_text_that_is_no_string_or_meta_describes_nothing() -> None:
    def look(value: Annotated[int, 3, msgspec.Meta(ge=0)], other: int | str) -> None:
        """Look."""

    properties: Any = Tool(look).parameters["properties"]
    assert properties == {
        "value": {"type": "integer", "minimum": 0},
        "other": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    }


# Docstrings.


def test_a_docstring_without_sections_is_all_description() -> None:
    docstring = Docstring("Do it.\n\n    Note that: it is done.\n")
    assert (docstring.description, docstring.arguments) == ("Do it.\n\nNote that: it is done.", {})


def test_a_missing_docstring_says_nothing() -> None:
    assert (Docstring(None).description, Docstring(None).arguments) == ("", {})


def test_arguments_may_have_types_stars_and_further_lines() -> None:
    docstring = Docstring(
        """Do it.

        Args:
            Stray words before the first one.
            one: First
                and more.

            *two (int): Second.
            three:
                Third.
        """
    )
    assert docstring.arguments == {"one": "First and more.", "two": "Second.", "three": "Third."}


# Calling.


def test_a_tool_is_still_called_as_before() -> None:
    assert tool(weather)("Bath", days=2) == "Bath 2 C None None"
    assert tool(weather).__doc__ == weather.__doc__
    assert repr(tool(weather)) == "Tool(weather)"


def test_arguments_may_be_an_object_or_its_text() -> None:
    assert Tool(weather).call({"city": "Bath"}) == "Bath 1 C None None"
    assert Tool(weather).call('{"city": "Bath", "unit": "F"}') == "Bath 1 F None None"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "missing required field `city`"),
        ({"city": 1}, r"Expected `str`, got `int` - at `\$.city`"),
        ({"city": "Bath", "days": 0}, "Expected `int` >= 1"),
        ({"city": "Bath", "town": "Wells"}, "unknown field `town`"),
        ({"city": "Bath", "near": {"x": "far"}}, r"at `\$.near.x`"),
        (["Bath"], "Expected `object`, got `array`"),
        ("{", "truncated"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_place(arguments: object, message: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=message):
        Tool(weather).call(arguments)


def test_a_whole_number_may_be_written_with_a_fraction() -> None:
    def book(seats: int, rows: list[int], price: float, by_day: dict[str, int], note: str) -> object:
        """Book."""
        return [seats, rows, price, by_day, note]

    given = '{"seats": 3.0, "rows": [1, 2.0, 4e2], "price": 9.0, "by_day": {"1": 2.0}, "note": "3.0"}'
    assert repr(Tool(book).call(given)) == "[3, [1, 2, 400], 9.0, {'1': 2}, '3.0']"
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `float` - at `\$.seats`"):
        Tool(book).call(given.replace("3.0,", "3.5,"))


def test_methods_and_objects_become_tools_where_they_are_bound() -> None:
    assert Tool(Thing().method).call({"value": 1}) == 2
    assert Tool(Thing(), name="thing", description="A thing.").call({"value": 1}) == 3


def test_what_a_partial_fills_in_is_no_business_of_the_model() -> None:
    def look_up(table: Opaque, key: str, limit: int = 1, *, user: Opaque) -> list[object]:
        """Look up."""
        return [table, key, limit, user]

    table, user = Opaque(), Opaque()
    made = tool(functools.partial(functools.partial(look_up, table), user=user))
    assert (made.name, made.description) == ("look_up", "Look up.")
    assert made.parameters["properties"] == {"key": {"type": "string"}, "limit": {"type": "integer", "default": 1}}
    assert made.call({"key": "a"}) == [table, "a", 1, user]
    with pytest.raises(msgspec.ValidationError, match="unknown field `user`"):
        made.call({"key": "a", "user": "somebody else"})


def test_what_is_to_be_awaited_is_known() -> None:
    async def later(value: int) -> int:
        """Later."""
        return value

    assert Tool(later).is_async
    assert Tool(functools.partial(later, 1)).is_async
    assert Tool(Awaited(), name="awaited", description="Awaited.").is_async
    assert not Tool(plain).is_async


# Definitions.


def test_a_decorator_takes_name_description_and_timeout() -> None:
    @tool(name="look_up", description="Look up.", timeout=2)
    def look(value: int) -> int:
        return value

    assert (look.name, look.description, look.timeout) == ("look_up", "Look up.", 2)
    assert look(3) == 3
    assert (tool(plain).name, tool(plain).timeout) == ("plain", OMIT)


def test_a_definition_is_as_requests_carry_it() -> None:
    made = Tool(plain)
    definition = FunctionDefinition(name="plain", description="Give it back.", parameters=made.parameters)
    assert made.definition() == definition
    assert made.definition("channel").result == FunctionResult(channel="channel")


@pytest.mark.parametrize("name", ["_hidden", "1st", "with space", "n" * 65, "naïve", "a-b"])
def test_a_name_that_models_cannot_use_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a tool: models take letters"):
        tool(plain, name=name)


def test_a_callable_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is no name for a tool.*pass name="):
        tool(Thing(), description="Give it back.")


def test_what_is_no_tool_is_refused_as_such() -> None:
    definition: Any = {"name": "weather", "parameters": {}}
    several: Any = [plain, "plain"]
    with pytest.raises(TypeError, match=r"'weather'.* cannot be called, so it is no tool.*functions="):
        Toolbox([definition])
    for tools in several:
        with pytest.raises(TypeError, match=r"are not several: give a list, as in tools=\[function\]"):
            Toolbox(tools)


@pytest.mark.parametrize("limit", [0, -1.5, float("nan"), "5"])
def test_a_time_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match="is no time limit of a tool: give seconds"):
        tool(plain, description="Give it back.", timeout=limit)
    with Turnwise(secret="s") as client, pytest.raises(ValueError, match="no time limit"):
        client.conversation.run("c", tools=[], tool_timeout=limit)
    with Turnwise(secret="s") as client, pytest.raises(ValueError, match="no time limit"):
        client.conversation.run(None, messages=[], tools=[], tool_timeout=limit)


@pytest.mark.parametrize("name", ["a", "$", "a_1$", "n" * 64])
def test_a_name_that_models_can_use_is_taken(name: str) -> None:
    assert tool(plain, name=name).name == name


def untyped(value: object) -> None:
    """Do it."""


del untyped.__annotations__["value"]


def starred(*values: int) -> None:
    """Do it."""


def keyed(**values: int) -> None:
    """Do it."""


def by_position(value: int, /) -> None:
    """Do it."""


def opaque(value: Opaque) -> None:
    """Do it."""


def unresolved(value: int) -> None:
    """Do it."""


unresolved.__annotations__["value"] = "Missing"


def two_structs(value: Place | Trip) -> None:
    """Do it."""


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda: None, "no name"),
        (untyped, "argument 'value' of the tool 'untyped' has no type"),
        (Thing.method, "argument 'self' of the tool 'method' has no type.*where it is bound"),
        (starred, r"takes \*values.*: a model gives arguments by name"),
        (keyed, r"takes \*\*values.*: a model gives"),
        (by_position, r"takes value by position.*: a model gives"),
        (opaque, "has a type that cannot be described to a model: .*Opaque.* is neither a type of JSON"),
        (two_structs, "has a type that cannot be described to a model: Type unions may not contain"),
        (unresolved, "the types of the tool 'unresolved' cannot be read: name 'Missing' is not defined"),
        (Thing(), "no name"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_with_the_reason(function: Callable[..., object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        tool(function)


def test_a_tool_that_says_nothing_of_itself_is_refused() -> None:
    def silent(value: int) -> int:
        return value

    with pytest.raises(TypeError, match="'silent' has no description: write a docstring"):
        tool(silent)


# Toolboxes.


def test_a_toolbox_gives_each_tool_a_channel_of_its_own() -> None:
    further = {"name": "further", "description": "d", "parameters": {}, "result": {"data": 1}}
    definition = FunctionDefinition(name="another", description="d", parameters={})
    box = Toolbox([plain, tool(weather)], [further, definition])
    first, second = box.tools
    assert len(first) >= 16
    assert first != second
    assert [each.name for each in box.tools.values()] == ["plain", "weather"]
    assert box.definitions == [
        Tool(plain).definition(first),
        Tool(weather).definition(second),
        further,
        definition,
    ]


def test_a_toolbox_of_nothing_but_tools() -> None:
    assert len(Toolbox([plain]).definitions) == len(Toolbox([plain], None).definitions) == 1


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two functions called 'plain': give one another name"):
        Toolbox([plain, plain])
    with pytest.raises(ValueError, match="two functions called 'plain'"):
        Toolbox([plain], [{"name": "plain"}])
