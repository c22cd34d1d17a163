"""The OpenAPI document is true: a real server is asked everything that it allows.

schemathesis makes requests from the document, sensible ones and wrong ones, and holds every answer
against its schema, its status codes and its content type. Bounded here, long in `make fuzz`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from api_ends import get, person, segment, tell
from collectors import AppOf, Collector, now_ms
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from collector.api.endpoints import ENDPOINTS
from collector.api.openapi import described
from collector.api.page import STYLE_HASH, page

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    (method.upper(), path)
    for path, item in described()["paths"].items()
    for method in item
    if method != "parameters"
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AppOf, Any]]:
    """A server with an app in it, and its document as schemathesis reads it."""
    far_end = Collector(tmp_path_factory.mktemp("schema") / "data")
    app = AppOf(far_end, "A")
    now = now_ms()
    for n in range(4):
        tell(app, *person(f"u{n}" if n else None, f"m{n}", now - n * 40_000_000))
    base = f"http://127.0.0.1:{far_end.port}"
    schema = schemathesis.openapi.from_url(f"{base}/api/v1/openapi.json")
    yield app, schema
    assert far_end.stop() == 0
    log = Path(far_end.log.name).read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log


def search(asked: tuple[AppOf, Any], operation: tuple[str, str], examples: int) -> None:
    app, schema = asked
    method, path = operation

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: Any) -> None:
        case.path_parameters = {**(case.path_parameters or {}), "appId": app.id}
        case.call_and_validate(headers={"Authorization": app.token}, checks=CHECKS, timeout=30)

    given(case=schema[path][method].as_strategy())(holds)()


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_every_answer_is_as_the_document_says(
    asked: tuple[AppOf, Any], operation: tuple[str, str]
) -> None:
    search(asked, operation, 6)


@pytest.mark.fuzz
@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_every_answer_is_as_the_document_says_for_long(
    asked: tuple[AppOf, Any], operation: tuple[str, str]
) -> None:
    search(asked, operation, 1_500)


def test_the_answers_of_a_known_app_fit_their_schemas(asked: tuple[AppOf, Any]) -> None:
    app, _ = asked
    span = {"start": now_ms() - 200_000_000, "end": now_ms()}
    (some,) = get(app, "/errors", limit=1)[1]["data"]
    names = {"userId": "u1", "sessionId": "4711", "event": "init", "attr": "plan"}
    names |= {"companyId": "none", "hash": some["hash"]}
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET":
            continue
        path = re.sub(r":([A-Za-z]+)", lambda m: segment(names[m[1]]), endpoint.path)
        query = {**span, "steps": "init,PLAYED", "devices": "d"} if endpoint.params else {}
        if any(param.name == "device" for param in endpoint.params):
            query = {}
        status, said = get(app, path, **query)
        assert status == (404 if "none" in path else 200), (path, said)
        template = re.sub(r":([A-Za-z]+)", r"{\1}", endpoint.full)
        answer = described()["paths"][template]["get"]["responses"][str(status)]
        assert validates(answer["content"]["application/json"]["schema"], said), path


def validates(schema: dict[str, Any], said: Any) -> bool:
    whole = {**schema, "components": described()["components"]}
    return bool(jsonschema_rs.is_valid(whole, said))


def test_the_document_names_every_endpoint_scope_and_refusal() -> None:
    document = described()
    assert document["openapi"].startswith("3.1")
    for endpoint in ENDPOINTS:
        item = document["paths"][re.sub(r":([A-Za-z]+)", r"{\1}", endpoint.full)]
        for method in ("get", "post") if endpoint.method == "GET" else ("delete",):
            operation = item[method]
            assert operation["x-scope"] == endpoint.scope
            assert {"400", "401", "403", "429", "503"} <= set(operation["responses"])
    names = [op["operationId"] for item in document["paths"].values()
             for name, op in item.items() if name != "parameters"]  # fmt: skip
    assert len(set(names)) == len(names)


def test_the_page_shows_every_endpoint_and_has_no_script(app: AppOf) -> None:
    status, raw, headers = app.far_end.request("GET", "/api/v1/docs")
    assert (status, raw) == (200, page())
    text = raw.decode()
    for endpoint in ENDPOINTS:
        assert f'id="{endpoint.name}"' in text
        assert f'href="#{endpoint.name}"' in text
    assert not re.search(r"<script|javascript:|\son\w+=|style=|src=|@import|url\(", text)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'")
    assert "unsafe" not in policy


def test_the_document_needs_no_token_and_is_json(app: AppOf) -> None:
    status, said, _ = app.far_end.request("GET", "/api/v1/openapi.json")
    assert (status, said) == (200, json.loads(json.dumps(described())))
