"""The API's description: what FastAPI derives, plus problems and this server's own limits."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from server.problems import MEDIA_TYPE, ProblemError, internal_problem, problem_body
from server.schemas import Problem, SearchRequest
from server.settings import ServerSettings

__all__ = ["describe", "problems"]

_REFERENCE = "#/components/schemas/{model}"
_SEEN = {
    400: ProblemError(400, "malformed_json", "the body is not JSON: Expecting value at character 0"),
    404: ProblemError(404, "unknown_collection", "there is no collection 'paper'; known: 'papers'"),
    413: ProblemError(413, "body_too_large", "the body is larger than 1048576 bytes"),
    415: ProblemError(415, "unsupported_media_type", "send the body as Content-Type: application/json"),
    422: ProblemError(
        422,
        "invalid_request",
        "/limit: Input should be greater than or equal to 1",
        errors=[{"pointer": "/limit", "detail": "Input should be greater than or equal to 1"}],
    ),
    503: ProblemError(503, "loading", "collection 'papers' is still loading; try again soon"),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these problems, each with an example.

    With a ``default``, FastAPI does not add its own form of a validation error.
    """
    named: dict[int | str, dict[str, Any]] = {status: _response(_SEEN[status]) for status in statuses}
    return {**named, "default": {**_response(internal_problem()), "description": "any other error"}}


def describe(app: FastAPI, settings: ServerSettings) -> None:
    """Make ``app.openapi()`` complete; computed at the first request for it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            _, problem = models_json_schema([(Problem, "serialization")], ref_template=_REFERENCE)
            components.update(problem["$defs"])
            _state_limits(components[SearchRequest.__name__], settings)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _state_limits(request: dict[str, Any], settings: ServerSettings) -> None:
    """Limits are settings, so the model cannot state them; `routes.search` holds them."""
    properties = request["properties"]
    properties["limit"]["maximum"] = settings.max_limit
    properties["query"]["maxLength"] = settings.max_query_chars
    properties["explain"]["description"] += f"; at most {settings.max_explained} hits then"
    request["if"] = {"properties": {"explain": {"const": True}}, "required": ["explain"]}
    request["then"] = {"properties": {"limit": {"maximum": settings.max_explained}}}


def _response(problem: ProblemError) -> dict[str, Any]:
    content = {
        "schema": {"$ref": _REFERENCE.format(model=Problem.__name__)},
        "example": problem_body(problem, "4f9c2d0e6b7a4a31"),
    }
    return {"description": problem.code.replace("_", " "), "content": {MEDIA_TYPE: content}}
