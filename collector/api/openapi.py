"""The OpenAPI 3.1 document, made from the table of endpoints and the classes of the answers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from collector.api import shapes
from collector.api.endpoints import BASE, ENDPOINTS, Endpoint
from collector.api.parameters import Parameter
from collector.receipts import Signed

_REF: Final = "#/components/schemas/{name}"
_REFUSALS: Final = {
    "400": "A parameter is missing or wrong; `field` names it.",
    "401": "No token, or none that opens this app. An unknown app gets the same.",
    "403": "The token lacks the scope.",
    "404": "Nothing here has that name.",
    "413": "The body is larger than 64 KiB.",
    "415": "The body is neither JSON nor a form, or is compressed.",
    "429": "Too many wrong tokens, or too many questions at once; `Retry-After` says when.",
    "503": "The store cannot answer, or took too long.",
}
_PATH_DOCS: Final = {
    "appId": "Which app.",
    "event": "A row name: of an event, or `init`, `error:NAME`, …",
    "attr": "An attribute of it.",
    "userId": "A userId, an `_id` or an anonId.",
    "sessionId": "A session id, as the details of a user tell it.",
    "companyId": "A company id.",
    "hash": "As the list of errors tells it.",
}


@lru_cache(maxsize=1)
def document() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(described())


def described() -> dict[str, Any]:
    """Return the document."""
    answers = [one.answer for one in ENDPOINTS if one.answer is not None]
    wanted = [*answers, shapes.Failure, Signed]
    schemas, components = msgspec.json.schema_components(wanted, ref_template=_REF)
    by_answer = dict(zip(map(str, wanted), schemas, strict=True))
    components = _named(by_answer, components)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        path = re.sub(r":([A-Za-z]+)", r"{\1}", endpoint.full)
        item = paths.setdefault(path, {"parameters": _variables(endpoint)})
        for method in ("get", "post") if endpoint.method == "GET" else ("delete",):
            item[method] = _operation(endpoint, method, by_answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Homing Data API",
            "version": "1",
            "description": "What a collector knows of an app. docs/numbers.md says exactly what "
            "each number means; docs/data-api.md has examples.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(one.group for one in ENDPOINTS)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "A token, bare or after `Bearer`. "
                    "Made with `homing collector token add APPID`.",
                }
            },
        },
        "x-websocket": {
            BASE + "/live/stream": "Pushes what live/users/count and live/events answer. "
            'The token is in the header, or in the first message: {"token": "…"}.',
        },
    }


def _named(answers: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Name what wraps an answer after its endpoint, instead of after its Python type."""
    names: dict[str, str] = {}
    for endpoint in ENDPOINTS:
        if endpoint.answer is None:
            continue
        schema = answers[str(endpoint.answer)]
        name = schema["$ref"].rpartition("/")[2]
        if "_" in name and name not in names:
            names[name] = "".join(map(str.title, endpoint.name.split("_"))) + "Answer"
            schema["$ref"] = _REF.format(name=names[name])
    return {names.get(name, name): schema for name, schema in components.items()}


def _variables(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_DOCS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in re.findall(r":([A-Za-z]+)", endpoint.full)
    ]


def _operation(endpoint: Endpoint, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": endpoint.name if method != "post" else f"{endpoint.name}_post",
        "summary": endpoint.summary,
        "tags": [endpoint.group],
        "x-scope": endpoint.scope,
        "responses": _responses(endpoint, method, schemas),
    }
    if endpoint.doc:
        said["description"] = endpoint.doc
    if method == "post":
        said["requestBody"] = _body(endpoint.params)
    else:
        said["parameters"] = [_parameter(one) for one in endpoint.params]
    return said


def _parameter(one: Parameter) -> dict[str, Any]:
    said = {
        "name": one.name,
        "in": "query",
        "required": one.required,
        "description": one.doc,
        "schema": dict(one.schema),
    }
    return said if one.example is None else {**said, "example": one.example}


def _body(params: tuple[Parameter, ...]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "token": {"type": "string", "description": "Instead of the header."},
            **{one.name: {**one.schema, "description": one.doc} for one in params},
        },
        "required": [one.name for one in params if one.required],
    }
    return {
        "required": bool(schema["required"]),
        "content": {
            "application/json": {"schema": schema},
            "application/x-www-form-urlencoded": {"schema": schema},
        },
    }


def _responses(endpoint: Endpoint, method: str, schemas: dict[str, Any]) -> dict[str, Any]:
    if endpoint.answer is None:
        good = {
            "204": {"description": "It is gone."},
            "200": _json("It is gone; a signed receipt.", schemas[str(Signed)]),
        }
    else:
        good = {"200": _json(endpoint.summary, schemas[str(endpoint.answer)])}
    refused = schemas[str(shapes.Failure)]
    codes = ["400", "401", "403", "429", "503"]
    codes += ["404"] if endpoint.missing else []
    codes += ["413", "415"] if method == "post" else []
    return good | {code: _json(_REFUSALS[code], refused) for code in sorted(codes)}


def _json(doc: str, schema: object) -> dict[str, Any]:
    return {"description": doc, "content": {"application/json": {"schema": schema}}}
