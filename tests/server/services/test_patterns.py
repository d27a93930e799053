from __future__ import annotations

import json
import time

import pytest
from tests.stalls import Stalls

from turnwise.server.services.arguments import ArgumentsError, SchemaError, read_arguments, validator_of

Json = dict[str, object]

ENDLESS = r"^(a|b|ab)*(?=(?:.*c){9})$"
LONG = "ab" * 2000 + "!"

HEADERS: Json = {
    "type": "object",
    "properties": {"x-known": {"type": "boolean"}},
    "patternProperties": {"^x-": {"maxLength": 3}, "-n$": {"type": "integer"}},
}


def patterned(pattern: str) -> Json:
    return {"type": "object", "properties": {"code": {"type": "string", "pattern": pattern}}}


def refused(schema: Json, arguments: Json) -> str:
    error = read_arguments("f", schema, json.dumps(arguments))
    assert isinstance(error, ArgumentsError)
    return error.message


def test_a_pattern_holds() -> None:
    schema = patterned("^[A-Z]{2}[0-9]+$")
    assert read_arguments("f", schema, '{"code": "AB12"}') == {"code": "AB12"}
    assert "does not match" in refused(schema, {"code": "ab"})


@pytest.mark.parametrize("arguments", [{}, {"x-a": "abc"}, {"x-known": True}, {"x-n": 1}, {"other": "long enough"}])
def test_what_fits_the_patterns_of_its_name_is_read(arguments: Json) -> None:
    assert read_arguments("f", HEADERS, json.dumps(arguments)) == arguments


@pytest.mark.parametrize(
    "arguments, wrong",
    [
        ({"x-a": "abcd"}, "x-a: 'abcd' is too long"),
        ({"x-known": 5}, "x-known: 5 is not of type 'boolean'"),
        ({"x-n": "abc"}, "x-n: 'abc' is not of type 'integer'"),
    ],
)
def test_each_pattern_of_a_name_holds(arguments: Json, wrong: str) -> None:
    assert wrong in refused(HEADERS, arguments)


def test_what_no_pattern_and_no_name_allows_is_additional() -> None:
    closed: Json = {**HEADERS, "additionalProperties": False}
    assert read_arguments("f", closed, '{"x-a": "abc", "x-known": true, "y-n": 1}')
    assert "Additional properties are not allowed ('y' was unexpected)" in refused(closed, {"x-a": "abc", "y": 1})
    numbers: Json = {**HEADERS, "additionalProperties": {"type": "number"}}
    assert read_arguments("f", numbers, '{"x-a": "abc", "y": 1}')
    assert "y: 'one' is not of type 'number'" in refused(numbers, {"x-a": "abc", "y": "one"})


@pytest.mark.parametrize(
    "schema, arguments",
    [
        (patterned(ENDLESS), {"code": LONG}),
        ({"type": "object", "patternProperties": {ENDLESS: {}}}, {LONG: 1}),
        ({"type": "object", "patternProperties": {ENDLESS: {}}, "additionalProperties": False}, {LONG: 1}),
        # what is called `properties` is a schema as any other
        (
            {"type": "object", "properties": {"properties": {"patternProperties": {ENDLESS: {}}}}},
            {"properties": {LONG: 1}},
        ),
    ],
    ids=["pattern", "patternProperties", "additionalProperties", "properties"],
)
def test_a_pattern_that_never_ends_is_given_up(schema: Json, arguments: Json, stalls: Stalls) -> None:
    begun = time.monotonic()
    assert "takes too long" in refused(schema, arguments)
    assert time.monotonic() - begun < 5 + stalls.allowance


@pytest.mark.parametrize(
    "part, path",
    [
        ({"type": "string", "pattern": "(["}, ".properties.a.pattern"),
        ({"type": "object", "patternProperties": {"([": {}}}, ".properties.a.patternProperties"),
        ({"type": "object", "patternProperties": {"x{e": {}}}, ".properties.a.patternProperties"),
    ],
)
def test_patterns_that_cannot_be_read_are_refused_by_their_path(part: Json, path: str) -> None:
    with pytest.raises(SchemaError) as error:
        validator_of({"type": "object", "properties": {"a": part}})
    assert error.value.path == path


def test_a_pattern_that_was_not_seen_to_be_none_breaks_nothing() -> None:
    hidden: Json = {"type": "object", "properties": {"properties": {"pattern": "x{e"}}}
    assert "no pattern" in refused(hidden, {"properties": "a"})


def test_patterns_of_names_beside_what_is_unevaluated_are_refused_wherever_they_stand() -> None:
    unevaluated: Json = {"patternProperties": {ENDLESS: {}}, "unevaluatedProperties": False}
    for schema in (
        unevaluated,
        {"$ref": "#/enum/0", "enum": [unevaluated]},
        {"properties": {"properties": unevaluated}},
    ):
        with pytest.raises(SchemaError, match="not supported together"):
            validator_of(schema)


def test_a_property_may_be_named_pattern() -> None:
    validator_of(
        {"type": "object", "properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "object"}}}
    )


def test_many_slow_searches_take_a_few_moments_together() -> None:
    slow: dict[str, object] = {f"(?:{number}|{ENDLESS})": {} for number in range(30)}
    names: Json = {f"{'ab' * 14}!{number}": 1 for number in range(300)}
    begun = time.process_time()
    assert "takes too long" in refused({"type": "object", "patternProperties": slow}, names)
    assert time.process_time() - begun < 5  # 9,000 searches of some milliseconds


def test_a_search_that_took_long_leaves_the_next_check_its_time() -> None:
    refused(patterned(ENDLESS), {"code": LONG})
    assert read_arguments("f", patterned("^a$"), '{"code": "a"}') == {"code": "a"}
