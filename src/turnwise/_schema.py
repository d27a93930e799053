"""What a Python callable takes, as JSON Schema for a model, and a model's arguments as Python values."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable
from typing import (
    TYPE_CHECKING,
    Annotated,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Docstring", "Parameters", "underlying"]

JsonObject = dict[str, object]

SECTION = re.compile(
    r"(Args|Arguments|Parameters|Keyword Args|Keyword Arguments|Returns?|Yields?|Raises|Examples?|Notes?|See Also|"
    r"Attributes|Warnings?|Todo|References):"
)
ARGUMENTS = {"Args", "Arguments", "Parameters", "Keyword Args", "Keyword Arguments"}
ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


class Docstring:
    """A docstring in Google's form: the prose before its sections, and what it says of each argument."""

    def __init__(self, text: str | None) -> None:
        prose: list[str] = []
        sections: dict[str, list[str]] = {}
        lines = prose
        for line in inspect.cleandoc(text or "").splitlines():
            heading = SECTION.fullmatch(line.rstrip())
            if heading is None:
                lines.append(line)
            else:
                lines = sections.setdefault(heading[1], [])
        self.description = "\n".join(prose).strip()
        self.arguments: dict[str, str] = {}
        for name in ARGUMENTS & sections.keys():
            self.arguments |= _entries(inspect.cleandoc("\n" + "\n".join(sections[name])))


def _entries(text: str) -> dict[str, str]:
    """Read `name: text` and `name (type): text`; lines that are indented go on with the text before them."""
    entries: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        match = None if line[:1].isspace() else ARGUMENT.fullmatch(line.rstrip())
        if match is not None:
            name = match[1]
            entries[name] = match[2]
        elif name:
            entries[name] = f"{entries[name]} {line.strip()}".strip()
    return entries


def underlying(function: Callable[..., object]) -> Callable[..., object]:
    """Return what a callable was before `functools.partial` filled arguments in."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[object]", function).func
    return function


def _filled(function: object) -> set[str]:
    """The names of the arguments that `functools.partial` filled in by name; others are in no signature any more."""
    return (
        set(cast("functools.partial[object]", function).keywords) if isinstance(function, functools.partial) else set()
    )


class Parameters:
    """The arguments of one callable; those that `functools.partial` filled in are not the model's.

    Raises:
        TypeError: An argument has no type, cannot be given by name, or its type cannot be described to a model.
    """

    def __init__(self, name: str, function: Callable[..., object], described: Mapping[str, str]) -> None:
        hints = _hints(name, underlying(function))
        filled = _filled(function)
        arguments = [each for each in inspect.signature(function).parameters.values() if each.name not in filled]
        for each in arguments:
            _check(name, each, hints)
        fields = [_field(each, hints[each.name]) for each in arguments]
        self._arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        self.schema = _schema(name, self._arguments, [hints[each.name] for each in arguments])
        """JSON Schema of the arguments: an object."""
        properties = cast("dict[str, JsonObject]", self.schema["properties"])
        for each in arguments:
            text = _text(hints[each.name]) or described.get(each.name)
            properties[each.name] |= {"description": text} if text else {}
            properties[each.name] |= _default(each.default)

    def read(self, arguments: object) -> JsonObject:
        """Return a model's arguments, an object or its JSON text, as the callable takes them.

        A whole number may be written as one with a fraction, `3.0`, as in JSON Schema.

        Raises:
            msgspec.ValidationError: They do not fit; the message says where.
            msgspec.DecodeError: The text is not JSON.
        """
        if isinstance(arguments, str):
            arguments = cast("object", msgspec.json.decode(arguments))
        try:
            read = self._read(arguments)
        except msgspec.ValidationError as problem:
            try:
                read = self._read(_with_whole_numbers(arguments))
            except msgspec.ValidationError:
                raise problem from None
        values = {name: cast("object", getattr(read, name)) for name in self._arguments.__struct_fields__}
        return {name: value for name, value in values.items() if value is not msgspec.UNSET}

    def _read(self, arguments: object) -> msgspec.Struct:
        return msgspec.convert(arguments, self._arguments, str_keys=True)  # as all keys of JSON are


def _with_whole_numbers(value: object) -> object:
    """Return JSON with `3` for `3.0`; a field for any number takes that too."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            members = cast("dict[str, object]", value)
            return {key: _with_whole_numbers(each) for key, each in members.items()}
        case list():
            return [_with_whole_numbers(each) for each in cast("list[object]", value)]
        case _:
            return value


def _hints(name: str, function: Callable[..., object]) -> dict[str, object]:
    plain = inspect.isroutine(function)
    try:
        return get_type_hints(function if plain else type(function).__call__, include_extras=True)
    except NameError as problem:
        raise TypeError(
            f"the types of the tool {name!r} cannot be read: {problem}; import them where the module runs, and define "
            "them outside of functions"
        ) from problem


def _check(name: str, parameter: inspect.Parameter, hints: Mapping[str, object]) -> None:
    if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        bare = parameter.replace(annotation=parameter.empty, default=parameter.empty)
        raise TypeError(f"the tool {name!r} takes {bare} by position or as a rest: a model gives arguments by name")
    if parameter.name not in hints:
        raise TypeError(
            f"the argument {parameter.name!r} of the tool {name!r} has no type: annotate it (a method is made a tool "
            "where it is bound, as in tools=[thing.method])"
        )


def _field(parameter: inspect.Parameter, hint: object) -> tuple[str, object] | tuple[str, object, object]:
    if parameter.default is parameter.empty:
        return parameter.name, hint
    # What the model leaves out is left to the callable's own default, which may be anything.
    return parameter.name, Union[hint, msgspec.UnsetType], msgspec.UNSET  # noqa: UP007 - hint is a value here


def _schema(name: str, arguments: type[msgspec.Struct], hints: Iterable[object]) -> JsonObject:
    try:
        records: dict[object, dict[str, object]] = {}
        for hint in hints:
            _find_records(hint, records)
        (root, *others), parts = msgspec.json.schema_components(
            [arguments, *records], schema_hook=_schema_of, ref_template="#/$defs/{name}"
        )
    except (TypeError, ValueError, NameError) as problem:
        raise TypeError(
            f"an argument of the tool {name!r} has a type that cannot be described to a model: {problem}"
        ) from problem
    for record, fields in zip(others, records.values(), strict=True):
        _describe(parts[_part(record)], fields)
    schema = cast("JsonObject", parts.pop(_part(root)))
    schema.pop("title", None)
    return schema | ({"$defs": parts} if parts else {})


def _part(reference: JsonObject) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")


def _find_records(hint: object, found: dict[object, dict[str, object]]) -> None:
    """Collect the Structs, dataclasses and TypedDicts that a type is made of, with the types of their fields."""
    for each in get_args(hint):
        _find_records(each, found)
    kind = get_origin(hint) or hint
    if not _is_record(kind) or hint in found:
        return
    hints = get_type_hints(kind, include_extras=True)
    names = dict(zip(hints, hints, strict=True))
    if _is_struct(kind):
        names = {field.name: field.encode_name for field in msgspec.structs.fields(cast("type[msgspec.Struct]", kind))}
    found[hint] = {names[name]: hints[name] for name in names}
    for each in found[hint].values():
        _find_records(each, found)


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _is_record(kind: object) -> bool:
    return _is_struct(kind) or is_typeddict(kind) or (isinstance(kind, type) and dataclasses.is_dataclass(kind))


def _describe(part: JsonObject, fields: Mapping[str, object]) -> None:
    """Add what `Annotated[..., "text"]` says of fields; what a `msgspec.Meta` says is there already."""
    properties = cast("dict[str, JsonObject]", part["properties"])
    for name, hint in fields.items():
        text = _text(hint)
        if text and name in properties:
            properties[name]["description"] = text


def _schema_of(kind: type) -> JsonObject:
    """Describe what msgspec knows no schema for."""
    if kind is object:
        return {"type": ["object", "array", "string", "number", "boolean", "null"]}
    raise TypeError(f"{kind!r} is neither a type of JSON nor a Struct, a dataclass or an enum")


def _text(hint: object) -> str | None:
    """Return what `Annotated[...]` says of an argument: a text, or that of a `msgspec.Meta`."""
    if get_origin(hint) in {Union, types.UnionType, Required, NotRequired}:
        return next((text for each in get_args(hint) if (text := _text(each))), None)
    if get_origin(hint) is not Annotated:
        return None
    for each in get_args(hint)[1:]:
        if isinstance(each, str):
            return each
        if isinstance(each, msgspec.Meta) and each.description is not None:
            return each.description
    return None


def _default(value: object) -> JsonObject:
    if value is inspect.Parameter.empty:
        return {}
    try:
        return {"default": msgspec.to_builtins(value)}
    except (TypeError, ValueError):  # a default that JSON cannot hold is the callable's own business
        return {}
