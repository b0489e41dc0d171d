"""A browser, a server for it, and a page that must not do what it may not."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tests.browser.stand_in import StandIn
from tests.http.quiet import quiet_between_tests

__all__ = ["quiet_between_tests"]

DEADLINE_MS = 15_000
ARTIFACTS = os.environ.get("RETRIEVAL_ARTIFACTS")  # read before a test takes away what is no setting
WATCHED = """
window.violations = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective }) => {
  window.violations.push(violatedDirective);
});
"""


@contextmanager
def listening(app: Any, **options: Any) -> Iterator[str]:
    """An ASGI application on a free port of this machine: gives its address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, log_level="error", ws="none", access_log=False, timeout_graceful_shutdown=5, **options
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive() and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's browser. Closed with the module: while Playwright runs, this thread has an event loop."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs a browser: there is no chromium on the PATH")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


@pytest.fixture(scope="module")
def shared_stand_in() -> Iterator[tuple[StandIn, str]]:
    app = StandIn()
    with listening(app, lifespan="off") as address:
        yield app, address


@pytest.fixture
def stand_in(shared_stand_in: tuple[StandIn, str]) -> Iterator[StandIn]:
    app, _ = shared_stand_in
    app.reset()
    yield app
    for each in app.tasks.values():
        each["state"] = "cancelled"  # ends the streams


@pytest.fixture
def address(shared_stand_in: tuple[StandIn, str]) -> str:
    return shared_stand_in[1]


@dataclass
class Watched:
    """What a page did that none may: ``errors`` of its console, ``elsewhere``, requests to other servers."""

    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable]:
    """``open_page(address, path, **context options)``: a page of its own; checked when the test ends.
    ``may_fail``: the console may tell of answers that are errors."""
    opened: list[tuple[Any, Any, Watched]] = []

    def start(address: str, path: str = "/ui", *, may_fail: bool = False, **options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(DEADLINE_MS)
        page, watched = context.new_page(), Watched()
        page.add_init_script(WATCHED)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))

        def told(message: Any) -> None:
            expected = may_fail and message.text.startswith("Failed to load resource")
            if message.type == "error" and not expected:
                watched.errors.append(message.text)

        def requested(request: Any) -> None:
            if not request.url.startswith((address, "data:")):
                watched.elsewhere.append(request.url)

        page.on("console", told)
        page.on("request", requested)
        opened.append((context, page, watched))
        page.goto(address + path)
        return page

    yield start
    for context, page, watched in opened:
        violations = page.evaluate("window.violations")
        context.close()
        assert watched.errors == []
        assert watched.elsewhere == []
        assert violations == []


@pytest.fixture
def page(open_page: Callable, stand_in: StandIn, address: str) -> Any:
    return open_page(address)


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable:
    """``shot(page, name)``: a picture of the whole page, kept for people to look at."""
    folder = Path(ARTIFACTS or request.config.rootpath / "build") / "screenshots"

    def take(page: Any, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return take
