"""The OpenAPI document, made from the table of operations and the structs they take and return."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, TypeVar, get_args

import msgspec

from turnwise.server.negotiate import Form
from turnwise.server.operation import Operation, Parameter
from turnwise.server.routes import OPERATIONS
from turnwise.types._base import OMIT
from turnwise.types.error import ErrorBody

__all__ = ["document", "document_bytes"]

Schema = dict[str, object]

REFERENCE: Final = "#/components/schemas/{name}"
VARIABLE: Final = re.compile(r"\{(\w+)\}")
ERROR_RESPONSE: Final = {"$ref": "#/components/responses/Error"}
IDEMPOTENCY_KEY: Final = {"$ref": "#/components/parameters/IdempotencyKey"}
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
    from turnwise import __version__

    types = list(_types(OPERATIONS))
    schemas, components = msgspec.json.schema_components(types, schema_hook=_hook, ref_template=REFERENCE)
    schema_of = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, schema_of)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Turnwise",
            "version": __version__,
            "description": "Conversations with bots. Also served under `/v1`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Error": _response("What went wrong, and what to do next.", {Form.JSON: schema_of[_key(ErrorBody)]})},
            "parameters": {"IdempotencyKey": _idempotency_key()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
