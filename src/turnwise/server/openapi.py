"""The OpenAPI document, made from the table of operations and the structs they take and return."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import msgspec

from turnwise.server.negotiate import Form
from turnwise.server.operation import Operation, Parameter
from turnwise.server.routes import OPERATIONS
from turnwise.types.error import ErrorBody

__all__ = ["document", "document_bytes"]

Schema = dict[str, object]
SchemaOf = Mapping[object, Schema]

REFERENCE: Final = "#/components/schemas/{name}"
VARIABLE: Final = re.compile(r"\{(\w+)\}")
IDEMPOTENCY_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request with the same key, within 24 hours, is done once and answered alike.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
VARIABLES: Final = {
    "conversationId": "The conversation's id.",
    "messageId": "The message's id.",
    "channelId": "The channel's id, at least 16 characters.",
}


@cache
def document_bytes() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(document())


def document() -> Schema:
    """Return the document."""
    from importlib.metadata import version

    types = tuple(dict.fromkeys(_types(OPERATIONS)))
    schemas, components = msgspec.json.schema_components(types, schema_hook=_hook, ref_template=REFERENCE)
    schema_of: SchemaOf = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Turnwise",
            "version": version("turnwise"),
            "description": "Conversations with bots, over HTTP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}, {"url": "/v1"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Error": _response("What happened, and what to do next.", {Form.JSON: schema_of[ErrorBody]})},
            "parameters": {"IdempotencyKey": IDEMPOTENCY_KEY},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _hook(cls: type) -> Schema:
    if cls is object:
        return {"description": "Any value."}
    raise NotImplementedError(cls)


def _types(operations: Iterable[Operation]) -> Iterable[object]:
    yield ErrorBody
    for operation in operations:
        yield from (each for each in (operation.body, operation.result, operation.events) if each is not None)


def _operation(operation: Operation, schema_of: SchemaOf) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.path.split("/")[1].lower()],
        "parameters": list(_parameters(operation)),
    }
    if operation.body is not None:
        described["requestBody"] = {"content": {Form.JSON.value: {"schema": schema_of[operation.body]}}}
    responses: Schema = {"default": {"$ref": "#/components/responses/Error"}}
    if operation.result is not None or operation.events is not None:
        responses["200"] = _response(operation.summary, _answers(operation, schema_of))
    else:
        responses["501"] = {"$ref": "#/components/responses/Error"}
    described["responses"] = responses
    return described


def _answers(operation: Operation, schema_of: SchemaOf) -> Mapping[Form, Schema]:
    answers: dict[Form, Schema] = {}
    if operation.result is not None:
        whole = schema_of[operation.result]
        answers[Form.JSON] = _page(whole) if Form.CSV in operation.forms else whole
    for form in operation.forms:
        if form in {Form.JSONL, Form.SSE}:
            answers[form] = schema_of[operation.events]
        elif form is Form.CSV:
            answers[form] = {"type": "string"}
    return answers


def _page(item: Schema) -> Schema:
    cursor: Schema = {"type": "string", "description": "What to ask for the next page with; empty at the end."}
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item}, "cursor": cursor},
        "required": ["items", "cursor"],
    }


def _response(description: str, answers: Mapping[Form, Schema]) -> Schema:
    content = {form.value: {"schema": schema} for form, schema in answers.items()}
    return {"description": description, "content": content}


def _parameters(operation: Operation) -> Iterable[Schema]:
    for name in VARIABLE.findall(operation.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": VARIABLES[name],
            "schema": {"type": "string"},
        }
    yield from map(_query_parameter, operation.parameters)
    if operation.body is not None:
        yield {"$ref": "#/components/parameters/IdempotencyKey"}


def _query_parameter(parameter: Parameter) -> Schema:
    schema: Schema = {"type": parameter.type}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.format is not None:
        schema["format"] = parameter.format
    described: Schema = {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": schema,
    }
    if parameter.type == "object":
        schema["additionalProperties"] = True
        described.update(style="deepObject", explode=True)
    return described
