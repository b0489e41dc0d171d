"""The API's description, for programs and for people: a viewer that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse, JSONResponse

from retrieval.errors import MissingExtraError
from server.http.openapi import problems
from server.http.problems import ProblemError
from server.http.ranges import check_range
from server.http.routing import api, make_router

__all__ = ["router"]

router = make_router("", "description")

VIEWER = "fastapi-swagger"
VIEWER_FILES = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
# The viewer styles its elements as it makes them, so styles cannot be as strict as scripts.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>API</title><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><main id="viewer"></main>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>
</html>
"""
START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#viewer", validatorUrl: null, deepLinking: true});
"""


@router.get("/openapi.json", include_in_schema=False)
@api("read", browser=True)
async def openapi(request: Request) -> Response:
    """The description in OpenAPI's form."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
@api("read", browser=True)
async def docs() -> Response:
    """The viewer."""
    return _page(PAGE, "text/html; charset=utf-8")


@router.get("/docs/{file}", include_in_schema=False, responses=problems(404))
@api("read", browser=True)
async def viewer_file(file: str, request: Request) -> Response:
    """What the viewer consists of."""
    if file == "start.js":
        return _page(START, "text/javascript; charset=utf-8")
    if file not in VIEWER_FILES:
        raise ProblemError(404, "route_not_found", f"there is no file '{file[:80]}' here")
    path = _viewer_files()[file]
    check_range(request, path.stat().st_size)
    return FileResponse(path, media_type=VIEWER_FILES[file])


def _page(content: str, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Security-Policy": CSP})


def _viewer_files() -> Mapping[str, Path]:
    """Where the viewer's package has its files; it is not imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        files = distribution(VIEWER).files or []
    except PackageNotFoundError:
        raise MissingExtraError("the viewer of the API's description", "server") from None
    return {Path(file).name: Path(str(file.locate())) for file in files if Path(file).name in VIEWER_FILES}
