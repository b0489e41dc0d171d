"""The API's description: what FastAPI derives, plus problems, keys and this server's own limits."""

from __future__ import annotations

import copy
import pkgutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server import schemas
from server.http.problems import MEDIA_TYPE, ProblemError, internal_problem, problem_body
from server.http.routing import Rules, rules_of
from server.schemas.problems import Problem
from server.settings import ServerSettings

__all__ = ["describe", "problems"]

_REFERENCE = "#/components/schemas/{model}"
_SEEN = {
    400: ProblemError(400, "malformed_json", "the body is not JSON: Expecting value at character 0"),
    401: ProblemError(401, "unauthorized", "send a key: Authorization: Bearer KEY"),
    403: ProblemError(403, "forbidden", "the key 'app' may not write to 'papers'"),
    404: ProblemError(404, "unknown_collection", "there is no collection 'paper'; known: 'papers'"),
    409: ProblemError(409, "collection_fixed", "'papers' is named in the server's settings; remove it there"),
    413: ProblemError(413, "body_too_large", "the body is larger than 1048576 bytes"),
    415: ProblemError(415, "unsupported_media_type", "send the body as Content-Type: application/json"),
    422: ProblemError(
        422,
        "invalid_request",
        "/limit: Input should be greater than or equal to 1",
        errors=[{"pointer": "/limit", "detail": "Input should be greater than or equal to 1"}],
    ),
    429: ProblemError(429, "too_many_tasks", "100 tasks are waiting, and that is the most; try again later"),
    503: ProblemError(503, "loading", "collection 'papers' is still loading; try again soon"),
    504: ProblemError(504, "deadline_exceeded", "no answer within 250 ms"),
}
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
    "basic": {"type": "http", "scheme": "basic", "description": "any user; the password is the key"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these problems, each with an example.

    What follows from the route's rules (keys, bodies, room) is added by `describe`. With a ``default``,
    FastAPI does not add its own form of a validation error.
    """
    named: dict[int | str, dict[str, Any]] = {status: _response(_SEEN[status]) for status in statuses}
    return {**named, "default": {**_response(internal_problem()), "description": "any other error"}}


def describe(app: FastAPI, routers: Sequence[APIRouter], settings: ServerSettings) -> None:
    """Make ``app.openapi()`` complete; computed at the first request for it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = schema.setdefault("components", {})
            models = components.setdefault("schemas", {})
            _, problem = models_json_schema([(Problem, "serialization")], ref_template=_REFERENCE)
            models.update(problem["$defs"])
            components["securitySchemes"] = _KEYS
            _restore_nulls(models)
            for rules, operation in _operations(routers, schema):
                _state_rules(rules, operation)
            _state_limits(models, settings)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(
    routers: Sequence[APIRouter], schema: dict[str, Any]
) -> Iterator[tuple[Rules, dict[str, Any]]]:
    """Each described operation with the rules of its route."""
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                yield rules_of(route.endpoint), schema["paths"][route.path_format][method.lower()]


def _state_rules(rules: Rules, operation: dict[str, Any]) -> None:
    """What every route with such rules may answer."""
    statuses: set[int] = set()
    if rules.scope is not None:
        operation["security"] = [{name: []} for name in _KEYS]
        statuses |= {401, 403}
    if "requestBody" in operation:
        statuses |= {400, 413, 415, 422}
    if rules.gate:
        statuses |= {503}
    for status in sorted(statuses):
        operation["responses"].setdefault(str(status), _response(_SEEN[status]))


def _state_limits(models: dict[str, Any], settings: ServerSettings) -> None:
    """Limits are settings, so the models cannot state them; the routes hold them."""
    request = models["SearchRequest"]
    request["properties"]["limit"]["maximum"] = settings.max_limit
    _bounded(request["properties"]["query"], "string", "maxLength", settings.max_query_chars)
    _bounded(request["properties"]["vectors"], "array", "maxItems", settings.max_query_tokens)
    request["properties"]["explain"]["description"] += f"; at most {settings.max_explained} hits then"
    models["BatchRequest"]["properties"]["searches"]["maxItems"] = settings.max_searches
    models["ScrollRequest"]["properties"]["limit"]["maximum"] = settings.max_documents
    for name in ("FetchRequest", "DocumentsRequest"):
        for listed in models.get(name, {}).get("properties", {}).values():
            _bounded(listed, "array", "maxItems", settings.max_documents)


def _restore_nulls(models: dict[str, Any]) -> None:
    """FastAPI drops every null, in examples too; there they say that a member is always present."""
    for module in pkgutil.iter_modules(schemas.__path__):
        for name, model in vars(import_module(f"{schemas.__name__}.{module.name}")).items():
            if name in models and isinstance(model, type) and issubclass(model, BaseModel):
                shown = model.model_config.get("json_schema_extra")
                if isinstance(shown, dict):
                    models[name].update(copy.deepcopy(shown))


def _bounded(schema: dict[str, Any], kind: str, bound: str, value: int) -> None:
    """Set a bound where the schema, or an alternative of it, is of that kind and has none."""
    for one in (schema, *schema.get("anyOf", ())):
        if one.get("type") == kind:
            one.setdefault(bound, value)


def _response(problem: ProblemError) -> dict[str, Any]:
    content = {
        "schema": {"$ref": _REFERENCE.format(model=Problem.__name__)},
        "example": problem_body(problem, "4f9c2d0e6b7a4a31"),
    }
    return {"description": problem.code.replace("_", " "), "content": {MEDIA_TYPE: content}}
