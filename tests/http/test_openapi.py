from __future__ import annotations

import warnings

import pytest
from fastapi.openapi.models import OpenAPI
from pydantic import BaseModel

from server import schemas
from server.schemas import Problem, SearchRequest


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
    assert {(path, method) for path, method, _ in operations(schema)} == {
        ("/livez", "get"),
        ("/readyz", "get"),
        ("/v1/collections", "get"),
        ("/v1/collections/{collection}", "get"),
        ("/v1/collections/{collection}/search", "post"),
    }


def test_every_body_has_examples_that_fit(schema):
    models = {name: value for name, value in vars(schemas).items() if isinstance(value, type)}
    seen = 0
    for _, _, operation in operations(schema):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in bodies + list(operation["responses"].values()):
            for media_type, content in body["content"].items():
                name = content["schema"]["$ref"].rsplit("/", 1)[1]
                shown = schema["components"]["schemas"][name].get("examples") or [content["example"]]
                model = models[name]
                assert issubclass(model, BaseModel)
                for example in shown:
                    model.model_validate(example)
                    seen += 1
                assert (media_type == "application/problem+json") == (model is Problem)
    assert seen >= 15


def test_errors_are_described_as_problems_only(schema):
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    for _, _, operation in operations(schema):
        for status, response in operation["responses"].items():
            expected = "application/json" if status == "200" else "application/problem+json"
            assert list(response["content"]) == [expected]


def test_states_this_servers_limits(serve):
    with serve(max_limit=77, max_query_chars=88, max_explained=66) as client:
        request = client.get("/openapi.json").json()["components"]["schemas"]["SearchRequest"]
    assert request["properties"]["limit"]["maximum"] == 77
    assert request["properties"]["query"]["maxLength"] == 88
    assert request["if"]["properties"] == {"explain": {"const": True}}
    assert request["then"]["properties"] == {"limit": {"maximum": 66}}


def test_the_documented_requests_work(client, schema):
    for example in schema["components"]["schemas"]["SearchRequest"]["examples"]:
        SearchRequest.model_validate(example)
        assert client.post("/v1/collections/late/search", json=example).status_code == 200


def test_docs_page(client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        response = client.get("/docs")
    assert response.status_code == 200
    assert "/openapi.json" in response.text
