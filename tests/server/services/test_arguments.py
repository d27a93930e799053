from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwise.server.services.arguments import ArgumentsError, SchemaError, read_arguments, validator_of

Json = dict[str, object]

WEATHER: Json = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "array", "items": {"enum": ["Monday", "Friday"]}},
        "at": {"$ref": "#/$defs/place"},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"north": {"type": "number"}}}},
}


def error_of(text: str, schema: Json = WEATHER) -> str:
    error = read_arguments("weather", schema, text)
    assert isinstance(error, ArgumentsError)
    return error.message


def test_arguments_that_fit_are_read() -> None:
    text = '{"city": "Graz", "days": ["Friday"], "at": {"north": 47.07}}'
    assert read_arguments("weather", WEATHER, text) == json.loads(text)


@pytest.mark.parametrize("text", ["", "  ", "null", "{}"])
def test_no_arguments_are_said_in_many_ways(text: str) -> None:
    assert read_arguments("now", {"type": "object"}, text) == {}


@pytest.mark.parametrize(
    "text, wrong",
    [
        ('{"days": []}', "'city' is a required property"),
        ('{"city": 5}', "city: 5 is not of type 'string'"),
        ('{"city": "Graz", "days": ["Sunday"]}', "days[0]: 'Sunday' is not one of ['Monday', 'Friday']"),
        ('{"city": "Graz", "at": {"north": "far"}}', "at.north: 'far' is not of type 'number'"),
        ('{"city": "Graz", "when": 1}', "Additional properties are not allowed ('when' was unexpected)"),
        ('{"city": "Gr', "they are not JSON (Input data was truncated)"),
        ("[1]", "a JSON object of arguments by their names was expected"),
        ('"Graz"', "a JSON object of arguments by their names was expected"),
        ("[" * 100_000, "they are not JSON"),
    ],
)
def test_what_does_not_fit_is_told_so_that_the_model_can_mend_it(text: str, wrong: str) -> None:
    message = error_of(text)
    assert message.startswith("The arguments of weather do not fit its parameters: ")
    assert wrong in message
    assert message.endswith("Call it again with arguments that fit.")


def test_several_problems_are_told_at_once_and_not_all_of_many() -> None:
    assert "city: 5 is not of type 'string'; days: 5 is not of type 'array'." in error_of('{"city": 5, "days": 5}')
    many = error_of(json.dumps({"city": "Graz", "days": list(range(50))}))
    assert many.count("is not one of") == 3
    assert " ..." in many


def test_a_problem_with_a_long_value_is_shortened() -> None:
    assert len(error_of(json.dumps({"city": ["x" * 10_000]}))) < 500


def test_a_schema_that_refers_to_itself_without_end_breaks_nothing() -> None:
    endless: Json = {"type": "object", "$ref": "#"}
    validator_of(endless)
    assert "cannot be checked" in error_of("{}", endless)


def test_no_schema_makes_the_server_fetch_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("urllib.request.urlopen", never)
    for keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
        for reference in ("http://127.0.0.1:1/x", "file:///etc/passwd", "other.json", "http://json-schema.org/x#"):
            with pytest.raises(SchemaError, match="leads nowhere"):
                validator_of({"type": "object", "properties": {"a": {keyword: reference}}})


def test_a_reference_that_an_id_moved_elsewhere_breaks_nothing() -> None:
    moved: Json = {
        "$id": "http://127.0.0.1:1/a",
        "properties": {"b": {"$id": "http://127.0.0.1:1/c", "$ref": "#/$defs/d"}},
    }
    schema: Json = {"type": "object", "allOf": [moved], "$defs": {"d": {"type": "string"}}}
    assert "cannot be checked" in error_of('{"b": 1}', schema)


def test_equal_schemas_share_a_validator_and_very_long_ones_are_not_kept() -> None:
    assert validator_of(dict(WEATHER)) is validator_of(dict(WEATHER))
    long: Json = {"type": "object", "description": "x" * 40_000}
    assert validator_of(long) is not validator_of(long)


def test_the_validator_is_imported_on_first_use() -> None:
    code = "import sys, turnwise.server.services.functions; print('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.split() == [b"False"]


JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists)


@given(st.dictionaries(st.text(), JSON))
def test_whatever_fits_is_handed_on_unaltered(arguments: dict[str, object]) -> None:
    assert read_arguments("f", {"type": "object"}, json.dumps(arguments)) == arguments


@given(st.text())
def test_whatever_a_model_writes_is_an_object_or_an_error(text: str) -> None:
    assert isinstance(read_arguments("f", WEATHER, text), dict | ArgumentsError)
