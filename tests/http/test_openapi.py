from __future__ import annotations

import importlib
import pkgutil

import pytest
from fastapi.openapi.models import OpenAPI
from pydantic import BaseModel

from server import schemas
from server.schemas.problems import Problem

MODELS = {
    name: value
    for module in pkgutil.iter_modules(schemas.__path__)
    for name, value in vars(importlib.import_module(f"server.schemas.{module.name}")).items()
    if isinstance(value, type) and issubclass(value, BaseModel)
}
OPERATIONS = """
get /livez
get /readyz
get /metrics
get /v1/aliases
post /v1/aliases
put /v1/aliases/{alias}
delete /v1/aliases/{alias}
get /v1/collections
put /v1/collections/{collection}
get /v1/collections/{collection}
patch /v1/collections/{collection}
delete /v1/collections/{collection}
post /v1/collections/{collection}/compact
post /v1/collections/{collection}/verify
post /v1/collections/{collection}/diagnose
post /v1/collections/{collection}/flush
post /v1/collections/{collection}/maintain
post /v1/collections/{collection}/reload
get /v1/collections/{collection}/snapshots
post /v1/collections/{collection}/snapshots
get /v1/collections/{collection}/snapshots/{snapshot}
delete /v1/collections/{collection}/snapshots/{snapshot}
post /v1/collections/{collection}/snapshots/{snapshot}/restore
post /v1/collections/{collection}/documents
get /v1/collections/{collection}/documents/{doc_id}
post /v1/collections/{collection}/documents/fetch
post /v1/collections/{collection}/documents/delete
post /v1/collections/{collection}/documents/scroll
post /v1/collections/{collection}/documents/count
post /v1/collections/{collection}/documents/facets
post /v1/collections/{collection}/search
post /v1/collections/{collection}/search/batch
post /v1/collections/{collection}/explain
post /v1/collections/{collection}/rerank
get /v1/tasks
get /v1/tasks/{task}
post /v1/tasks/{task}/cancel
get /v1/tasks/{task}/events
get /v1/models
post /v1/embeddings
post /v1/rerank
"""


@pytest.fixture
def schema(client):
    return client.get("/openapi.json").json()


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def nodes(value):
    """Every object within a value of JSON."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else []:
        yield from nodes(item)


def operations(schema):
    return [
        (path, method, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    ]


def test_is_valid_and_every_reference_resolves(schema):
    OpenAPI.model_validate(schema)
    assert schema["openapi"].startswith("3.1")
    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert set(references(schema)) <= known
    assert len({operation["operationId"] for *_, operation in operations(schema)}) == len(operations(schema))


def test_names_every_route(schema):
    named = {f"{method} {path}" for path, method, _ in operations(schema)}
    assert named == set(OPERATIONS.split("\n")) - {""}


def test_bounds_are_those_of_json_schema(schema):
    models = schema["components"]["schemas"]
    for name in ("SearchRequest", "ScrollRequest"):
        assert models[name]["properties"]["limit"]["minimum"] == 1
    assert models["CollectionConfig"]["properties"]["dim"]["anyOf"][0]["maximum"] == 65536
    unknown = {"ge", "le", "gt", "lt", "min_length", "max_length"}
    typed = [(name, node) for name, model in models.items() for node in nodes(model) if "type" in node]
    assert not [name for name, node in typed if unknown & node.keys()]


def test_every_body_has_examples_that_fit(schema):
    seen = 0
    for path, method, operation in operations(schema):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in bodies + list(operation["responses"].values()):
            for media_type, content in body.get("content", {}).items():
                if "$ref" not in content["schema"]:  # lines, streams, files: no model
                    continue
                name = content["schema"]["$ref"].rsplit("/", 1)[1]
                shown = schema["components"]["schemas"][name].get("examples") or [content.get("example")]
                assert shown != [None], f"{method} {path}: {name} has no example"
                for example in shown:
                    MODELS[name].model_validate(example)
                    seen += 1
                assert (media_type == "application/problem+json") == (MODELS[name] is Problem)
    assert seen >= 300


def test_errors_are_described_as_problems_only(schema):
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    for path, method, operation in operations(schema):
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                assert list(response["content"]) == ["application/problem+json"], (method, path, status)


def test_all_but_the_health_routes_need_a_key(schema):
    for path, method, operation in operations(schema):
        is_open = path in ("/livez", "/readyz")
        assert ("security" in operation) != is_open, (method, path)
        assert ("401" in operation["responses"]) != is_open


def test_states_this_servers_limits(serve):
    with serve(max_limit=77, max_query_chars=88, max_explained=66, max_searches=55) as client:
        models = client.get("/openapi.json").json()["components"]["schemas"]
    request = models["SearchRequest"]["properties"]
    assert request["limit"]["maximum"] == 77
    assert request["query"]["anyOf"][0]["maxLength"] == 88
    assert "66" in request["explain"]["description"]
    assert models["BatchRequest"]["properties"]["searches"]["maxItems"] == 55


def test_the_documented_requests_work(client, schema):
    for model, path in (("SearchRequest", "search"), ("BatchRequest", "search/batch")):
        for example in schema["components"]["schemas"][model]["examples"]:
            answer = client.post(f"/v1/collections/late/{path}", json=example)
            assert answer.status_code == 200, answer.text


def test_the_viewer_comes_from_here(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("<!doctype html>", "")
    for file, media_type in (
        ("swagger-ui.css", "text/css"),
        ("swagger-ui-bundle.js", "text/javascript"),
        ("start.js", "text/javascript"),
    ):
        assert f"docs/{file}" in page.text
        answer = client.get(f"/docs/{file}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
    assert client.get("/docs/../app.py").status_code == 404
    assert client.get("/docs/favicon-32x32.png").status_code == 404
