"""The web page at /ui: static files of this package, which call the API as any client does."""

from __future__ import annotations

from fastapi import Request, Response

from server.http.openapi import problems
from server.http.problems import ProblemError
from server.http.routing import api, make_router
from server.page_files import INDEX, file_response, page_files

__all__ = ["router"]

router = make_router("", "page")


@router.get("/ui", include_in_schema=False)
@api("read", browser=True)
async def page(request: Request) -> Response:
    """The page itself."""
    return file_response(request, page_files()[INDEX])


@router.get("/ui/{file}", include_in_schema=False, responses=problems(404))
@api("read", browser=True)
async def page_file(file: str, request: Request) -> Response:
    """What the page consists of."""
    found = page_files().get(file)
    if found is None:
        raise ProblemError(404, "route_not_found", f"there is no file '{file[:80]}' here; the page is at /ui")
    return file_response(request, found)
