from __future__ import annotations

import pytest

from turnwise.server.errors import BadRequest
from turnwise.server.models.base import FunctionSpec
from turnwise.server.services.arguments import ArgumentsError
from turnwise.server.services.functions import FunctionSet, check_functions
from turnwise.types._base import OMIT, Omit
from turnwise.types.function import FunctionCall, FunctionDefinition, FunctionResult

Json = dict[str, object]

EMPTY: Json = {"type": "object", "properties": {}}


def function(
    name: str = "f",
    parameters: Json | None = None,
    *,
    result: FunctionResult | None | Omit = OMIT,
    call: FunctionCall | None | Omit = OMIT,
) -> FunctionDefinition:
    return FunctionDefinition(
        name=name, description=f"About {name}.", parameters=parameters or EMPTY, result=result, call=call
    )


def refused(*functions: FunctionDefinition) -> str:
    with pytest.raises(BadRequest) as caught:
        check_functions(functions)
    return caught.value.message


@pytest.mark.parametrize("name", ["f", "$", "aZ09_$", "x" * 64])
def test_names_of_javascript_are_taken(name: str) -> None:
    check_functions([function(name)])


@pytest.mark.parametrize("name", ["", "_f", "1f", "f-g", "f g", "f\n", "größe", "x" * 65])
def test_other_names_are_refused_with_their_path(name: str) -> None:
    assert refused(function("g"), function(name)).startswith("$.functions[1].name: ")


def test_a_name_that_comes_twice_is_refused() -> None:
    message = refused(function("f"), function("g"), function("f"))
    assert message.startswith("$.functions[2].name: 'f' is the name of $.functions[0] too.")


@pytest.mark.parametrize("none", [None, OMIT, []])
def test_no_functions_are_nothing_to_refuse(none: list[FunctionDefinition] | None | Omit) -> None:
    check_functions(none)
    assert len(FunctionSet(none)) == 0


def test_more_functions_than_model_servers_take_are_refused() -> None:
    check_functions([function(f"f{number}") for number in range(128)])
    assert refused(*(function(f"f{number}") for number in range(129))).startswith("$.functions: 128 functions")


@pytest.mark.parametrize(
    "parameters, path",
    [
        ({"properties": {}}, ".type"),
        ({"type": "string"}, ".type"),
        ({"type": ["object"]}, ".type"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, ".properties.a.type"),
        ({"type": "object", "required": "a"}, ".required"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, ".properties.a.pattern"),
        ({"type": "object", "properties": {"a": {"anyOf": [{"minimum": "1"}]}}}, ".properties.a.anyOf[0].minimum"),
        ({"type": "object", "$schema": 1}, ".$schema"),
        ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}, ".properties.a.$ref"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, ".properties.a.$ref"),
        ({"type": "object", "anyOf": [{"$ref": "file:///etc/passwd"}]}, ".anyOf[0].$ref"),
    ],
)
def test_parameters_that_are_no_schema_of_an_object_are_refused_with_their_path(parameters: Json, path: str) -> None:
    assert refused(function(parameters=parameters)).startswith(f"$.functions[0].parameters{path}: ")


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"a": {"$ref": "#"}}},
        {"$schema": "https://example.org/unknown", "type": "object"},
        {"type": "object", "properties": {"$ref": {"type": "string"}}, "x-ours": {"any": "thing"}},
    ],
)
def test_schemas_of_objects_are_taken(parameters: Json) -> None:
    check_functions([function(parameters=parameters)])


@pytest.mark.parametrize(
    "result",
    [None, OMIT, FunctionResult(data=None), FunctionResult(data={"a": 1}), FunctionResult(channel="c" * 16)],
)
def test_a_result_is_data_or_a_channel_or_missing(result: FunctionResult | None | Omit) -> None:
    check_functions([function(result=result)])


@pytest.mark.parametrize("result", [FunctionResult(), FunctionResult(data=1, channel="c" * 16)])
def test_a_result_that_is_neither_or_both_is_refused(result: FunctionResult) -> None:
    assert refused(function(result=result)).startswith("$.functions[0].result: expected either `data`")


def test_a_channel_that_could_be_guessed_is_refused() -> None:
    message = refused(function(result=FunctionResult(channel="c" * 15)))
    assert message.startswith("$.functions[0].result.channel: 15 characters; at least 16")


def test_a_set_knows_what_a_prompt_needs() -> None:
    functions = FunctionSet([function("f"), function("g")])
    assert functions.specs == (
        FunctionSpec(name="f", description="About f.", parameters=EMPTY),
        FunctionSpec(name="g", description="About g.", parameters=EMPTY),
    )
    assert functions.get("g") == function("g")
    assert functions.get("h") is None
    assert len(functions) == 2


def test_functions_that_are_called_first_and_last_are_known_in_order() -> None:
    functions = FunctionSet(
        [
            function("a", call=FunctionCall(end=True)),
            function("b", call=FunctionCall(start=True, end=True)),
            function("c", call=FunctionCall(start=False)),
            function("d", call=FunctionCall(start=True)),
            function("e", call=None),
        ]
    )
    assert functions.start == ("b", "d")
    assert functions.end == ("a", "b")


def test_a_function_that_does_not_exist_is_told_with_those_that_do() -> None:
    error = FunctionSet([function("f"), function("g")]).arguments_of("h", "{}")
    assert error == ArgumentsError("There is no function 'h'. There are: f, g.")
    assert isinstance(error, ArgumentsError)
    assert error.result == {"error": "There is no function 'h'. There are: f, g."}
    nothing = FunctionSet().arguments_of("h", "{}")
    assert nothing == ArgumentsError("There is no function 'h'. There are no functions; answer without one.")


def test_arguments_are_checked_against_the_functions_own_schema() -> None:
    schema: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    functions = FunctionSet([function("f", schema)])
    assert functions.arguments_of("f", '{"n": 1}') == {"n": 1}
    assert isinstance(functions.arguments_of("f", "{}"), ArgumentsError)
