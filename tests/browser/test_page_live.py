"""The page with the real server behind it: what it shows is what the engine says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval import Document, Engine, IndexConfig, RecipeConfig
from server.app import create_app
from server.page_files import CSP
from server.security.access import KeySettings, new_key
from server.settings import ServerSettings
from tests.browser.conftest import listening
from tests.browser.made_up import EMOJI_TEXT, HOSTILE, TITLE
from tests.encoders import HashingDense, HashingLate

QUERY = "lift of thin wings"
DOCUMENTS = [
    Document("d/1", EMOJI_TEXT, TITLE, {"year": 1958}),
    Document("d2", HOSTILE, "<b>bold</b>", {"year": 1959}),
    *(Document(f"e{i}", f"drag of wing {i} at speed {i % 7}", f"Study {i}", {"year": i}) for i in range(300)),
]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    recipe = RecipeConfig.of(index="tokens", codec="none", sample=256, held_out=16)
    Engine.build(folder / "late", DOCUMENTS, HashingLate(), config=IndexConfig.of(recipe=recipe))
    Engine.build(folder / "dense", DOCUMENTS, HashingDense())
    return folder


@pytest.fixture
def serve(indexes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable]:
    for name in [name for name in os.environ if name.startswith("RETRIEVAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def start(**settings: Any) -> Any:
        encoders = {"late": HashingLate(), "dense": HashingDense()}
        return listening(
            create_app(ServerSettings(data_dir=indexes, search_threads=2, **settings), encoders=encoders)
        )

    return start


def ready(page: Any, collection: str) -> None:
    """Chooses a collection once the server has opened it."""
    option = f"option[value={collection}]:not([disabled])"
    for _ in range(100):
        if page.locator(option).count():
            break
        page.reload()
    page.get_by_label("Collection", exact=True).select_option(collection)
    page.get_by_label("Mode", exact=True).locator("option").first.wait_for(state="attached")


def test_hits_and_matches_are_the_engine_s(serve: Callable, indexes: Path, open_page: Callable) -> None:
    with Engine.open(indexes / "late", encoder=HashingLate()) as engine:
        expected = engine.search(QUERY, k=10)
        reason = engine.explain(QUERY, "d/1")
    with serve() as address:
        page = open_page(address)
        ready(page, "late")
        page.get_by_label("Plan", exact=True).check()
        page.get_by_label("Query", exact=True).fill(QUERY)
        page.keyboard.press("Enter")
        page.locator(".hit").nth(9).wait_for()
        ids = page.locator(".hit").evaluate_all("nodes => nodes.map((node) => node.dataset.id)")
        assert ids == [hit.id for hit in expected]
        first = page.locator(".hit[data-id='d/1']")
        assert f"score {reason.score:.4f}" in first.inner_text()
        page.get_by_role("group", name="Query tokens").get_by_role("button", name="wings").click()
        assert first.locator("mark.chosen").all_inner_texts() == ["wings"]
        assert "accepted" in page.locator(".plan").inner_text()
        page.get_by_role("button", name="More hits").click()
        page.locator(".hit").nth(19).wait_for()


def test_compare_index_and_tasks(serve: Callable, open_page: Callable) -> None:
    with serve() as address:
        page = open_page(address)
        ready(page, "late")
        page.get_by_role("link", name="Compare").click()
        page.locator("#view-compare option[value=late]").first.wait_for(state="attached")
        page.locator("#view-compare").get_by_label("Query", exact=True).fill(QUERY)
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator("table.difference").wait_for()
        assert "overlap@10" in page.locator("#view-compare .status").inner_text()

        page.get_by_role("link", name="Index").click()
        page.locator("#view-index").get_by_label("Collection", exact=True).select_option("late")
        page.locator("#view-index").get_by_text("late: 302 documents").wait_for()
        page.locator(".curve circle").first.wait_for()
        page.get_by_role("button", name="Run the doctor").click()
        page.locator(".report").get_by_text("Recipes tried on a sample").wait_for(timeout=120_000)

        page.get_by_role("link", name="Tasks").click()
        page.locator(".task").get_by_text("succeeded").wait_for()
        assert "diagnose of late" in page.locator(".task").first.inner_text()


def test_the_page_s_routes(serve: Callable) -> None:
    key, digest = new_key()
    keys = {"reader": KeySettings(sha256=digest, scope="read", collections=["late"])}
    with serve(keys=keys) as address, httpx.Client(base_url=address) as client:
        for path in ("/ui", "/ui/app.js"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Basic ")
        assert client.get("/v1/collections").headers["www-authenticate"].startswith("Bearer ")
        client.auth = ("me", key)
        for path in ("/ui", "/ui/app.js", "/ui/style.css"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"] == CSP
            assert answer.headers["cache-control"] == "no-cache"
            again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for path in (
            "/ui/",
            "/ui/no.js",
            "/ui/..%2fapp.py",
            "/ui/%2e%2e/app.py",
            "/ui/index.html%00",
            "/ui/a/b",
        ):
            missing = client.get(path)
            assert missing.status_code == 404, path
            assert missing.json()["code"] == "route_not_found"


def test_a_key_opens_the_page_and_its_calls(serve: Callable, open_page: Callable) -> None:
    key, digest = new_key()
    keys = {"reader": KeySettings(sha256=digest, scope="read")}
    with serve(keys=keys) as address:
        page = open_page(address, http_credentials={"username": "me", "password": key})
        ready(page, "dense")
        page.get_by_label("Query", exact=True).fill(QUERY)
        page.keyboard.press("Enter")
        page.locator(".hit").first.wait_for()
        assert key not in page.content()
