"""A server that answers by the API's contract from what is made up, and serves the real page."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from server.page_files import INDEX, file_response, page_files
from tests.browser import made_up

KINDS = {"papers": "late", "abstracts": "dense"}
PASSWORD = "rk_made_up"


def problem(status: int, code: str, detail: str, pointer: str | None = None) -> JSONResponse:
    body = {
        "type": f"urn:retrieval:problem:{code}",
        "title": "Problem",
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "4f9c2d0e",
    }
    if pointer is not None:
        body["errors"] = [{"pointer": pointer, "detail": detail}]
    return JSONResponse(body, status, media_type="application/problem+json")


class StandIn:
    """``searches`` are the bodies that came, ``streams`` the tasks that were followed. ``key`` makes it ask
    for one; ``is_slow``: a collection is still loading."""

    def __init__(self) -> None:
        self.searches: list[dict[str, Any]] = []
        self.streams: list[str] = []
        self.key: str | None = None
        self.is_slow = True
        self.tasks: dict[str, dict[str, Any]] = {}
        self.reset()
        self.app = Starlette(
            routes=[
                Route("/ui", self.page),
                Route("/ui/{file}", self.page),
                Route("/v1/collections", self.collections),
                Route("/v1/collections/{name}", self.detail),
                Route("/v1/collections/{name}/search", self.search, methods=["POST"]),
                Route("/v1/collections/{name}/explain", self.explain, methods=["POST"]),
                Route("/v1/collections/{name}/diagnose", self.diagnose, methods=["POST"]),
                Route("/v1/tasks", self.list_tasks),
                Route("/v1/tasks/{id}", self.task),
                Route("/v1/tasks/{id}/cancel", self.cancel, methods=["POST"]),
                Route("/v1/tasks/{id}/events", self.events),
            ]
        )

    def reset(self) -> None:
        self.searches.clear()
        self.streams.clear()
        self.key, self.is_slow = None, True
        self.tasks = {
            "t1": task("t1", "compact", "running", fraction=0.25, stage="measure recall"),
            "t2": task(
                "t2", "verify", "failed", problem={"code": "index_damaged", "detail": "a file is <bad>"}
            ),
            "t3": task("t3", "snapshot", "succeeded", result={"name": "monday"}),
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self.key is not None and not self.may(Request(scope)):
            refused = problem(401, "unauthorized", "no key was sent")
            kind = "Basic" if scope["path"].startswith("/ui") else "Bearer"
            refused.headers["WWW-Authenticate"] = f'{kind} realm="retrieval"'
            await refused(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def may(self, request: Request) -> bool:
        kind, _, sent = request.headers.get("authorization", "").partition(" ")
        return kind == "Basic" and b64decode(sent).decode().partition(":")[2] == self.key

    async def page(self, request: Request) -> Response:
        file = page_files().get(request.path_params.get("file", INDEX))
        return problem(404, "route_not_found", "no") if file is None else file_response(request, file)

    async def collections(self, request: Request) -> Response:
        ready = {"state": "ready", "documents": len(made_up.DOCUMENTS)}
        first = {"name": "papers", "kind": "late", "aliases": ["current"], **ready}
        others = [
            {"name": "abstracts", "kind": "dense", "aliases": [], **ready},
            {"name": "slow", "state": "loading", "aliases": []}
            | ({} if self.is_slow else {"kind": "dense", **ready}),
        ]
        if "cursor" in request.query_params:
            return JSONResponse({"collections": others, "next_cursor": None})
        return JSONResponse({"collections": [first], "next_cursor": "papers"})

    async def detail(self, request: Request) -> Response:
        name = request.path_params["name"]
        name = "papers" if name == "current" else name
        if name not in KINDS:
            return problem(404, "unknown_collection", f"there is no collection '{name}'")
        return JSONResponse(made_up.detail(name, KINDS[name]))

    async def search(self, request: Request) -> Response:
        body = await request.json()
        self.searches.append(body)
        if body["limit"] > 1000:
            return problem(422, "invalid_request", "at most 1000 hits", "/limit")
        if "nowhere" in body.get("filter", {}):
            return problem(422, "bad_filter", "/nowhere: there is no field 'nowhere'")
        if body["query"] == "nothing":
            return JSONResponse(
                {
                    "hits": [],
                    "generation": 7,
                    "timings_ms": {"total": 1.0},
                    "partial": True,
                    "next_cursor": None,
                }
            )
        kind = KINDS[request.path_params["name"].replace("current", "papers")]
        return JSONResponse(made_up.found(body, kind))

    async def explain(self, request: Request) -> Response:
        body = await request.json()
        chosen = {document["id"]: document for document in made_up.DOCUMENTS}
        told = [{"id": name, **made_up.explanation(body["query"], chosen[name])} for name in body["ids"]]
        return JSONResponse({"explanations": told, "generation": 7})

    async def diagnose(self, request: Request) -> Response:
        self.tasks["t9"] = task("t9", "diagnose", "queued")
        return JSONResponse(self.tasks["t9"], 202, headers={"Location": "/v1/tasks/t9"})

    async def list_tasks(self, request: Request) -> Response:
        return JSONResponse({"tasks": list(self.tasks.values())[::-1], "next_cursor": None})

    async def task(self, request: Request) -> Response:
        return JSONResponse(self.tasks[request.path_params["id"]])

    async def cancel(self, request: Request) -> Response:
        found = self.tasks[request.path_params["id"]]
        found |= {"state": "cancelled", "finished_at": "2026-01-31T12:00:05+00:00"}
        return JSONResponse(found)

    async def events(self, request: Request) -> Response:
        return StreamingResponse(self.told(request.path_params["id"]), media_type="text/event-stream")

    async def told(self, name: str) -> AsyncIterator[str]:
        """The doctor's task goes through its states; others are told until they end."""
        self.streams.append(name)
        found = self.tasks[name]
        if found["kind"] == "diagnose":
            states = [
                {"state": "running", "progress": progress(0.5, "try tokens")},
                {"state": "succeeded", "progress": progress(1.0), "result": made_up.REPORT},
            ]
            for state in states:
                found |= state
                yield event(found)
                await asyncio.sleep(0.05)
            return
        sent = ""
        while True:
            if (now := event(found)) != sent:
                yield (sent := now)
            if found["state"] not in ("queued", "running"):
                return
            await asyncio.sleep(0.02)


def event(told: dict[str, Any]) -> str:
    return f"event: task\ndata: {json.dumps(told)}\n\n"


def progress(fraction: float | None = None, stage: str | None = None) -> dict[str, Any]:
    return {"stage": stage, "fraction": fraction, "documents": None, "eta_seconds": 3.2 if fraction else None}


def task(name: str, kind: str, state: str, **rest: Any) -> dict[str, Any]:
    return {
        "id": name,
        "kind": kind,
        "collection": "papers",
        "state": state,
        "created_at": "2026-01-31T12:00:00+00:00",
        "started_at": None,
        "finished_at": None,
        "progress": progress(rest.pop("fraction", None), rest.pop("stage", None)),
        "result": None,
        "problem": None,
        **rest,
    }
