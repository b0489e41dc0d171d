"""The files of the page, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

import server
from server.page_files import INDEX, file_response, page_files

FOLDER = Path(server.__file__).parent / "page"
SCRIPTS = sorted(FOLDER.glob("*.js"))
ALL = sorted(FOLDER.iterdir())


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_nothing_reads_text_as_markup_or_leaves_the_server(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ):
        assert forbidden not in text
    addresses = set(re.findall(r"https?://[^\s\"'`]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a vocabulary, which nothing fetches


def test_the_page_has_nothing_inline() -> None:
    text = (FOLDER / INDEX).read_text(encoding="utf-8")
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_small_and_import_what_there_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 250
    for name in re.findall(r'from "(.+)";', text):
        assert name.startswith("./"), name
        assert (FOLDER / name).is_file(), name
    for names, module in re.findall(r'import \{ (.+) \} from "\./(.+)";', text):
        exported = (FOLDER / module).read_text(encoding="utf-8")
        for name in names.split(", "):
            assert re.search(rf"export (async )?(function|class|const) {name}\b", exported), name
            assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is not used"


@pytest.fixture
def client() -> TestClient:
    async def answer(request: Request) -> Response:
        return file_response(request, page_files()[request.path_params["file"]])

    return TestClient(Starlette(routes=[Route("/{file}", answer)]))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_every_file_is_served_with_its_type_and_policy(client: TestClient, path: Path) -> None:
    answer = client.get(f"/{path.name}")
    assert answer.content == path.read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].split(";")[0] == kinds[path.suffix]


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/app.js").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get("/app.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get("/app.js", headers={"If-None-Match": '"other"'}).status_code == 200
