from __future__ import annotations

import base64
import json
import logging
import logging.config

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from server.http.middleware import RequestContext
from server.observing.logs import make_logger, uvicorn_log_config
from server.security.keys import new_key, redact

KEY, OTHER = new_key()[0], new_key()[0]
PASSWORD = "Basic " + base64.b64encode(f"any:{OTHER}".encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "Authorization: Bearer {}",
        "GET /v1/x?key={}&limit=3",
        "{{'authorization': 'Bearer {}'}}",
        "[(b'host', b'x'), (b'api-key', b'{}')]",
        "Traceback:\n  ValueError: '{}'\n",
    ],
)
def test_keys_are_cut_out_and_the_rest_stays(text):
    assert KEY not in redact(text.format(KEY))
    assert "[redacted]" in redact(text.format(KEY))


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "{{'api-key': '{}'}}",
        "(b'api-key', b'{}')",
        'authorization="{}"',
        "basic {}",
    ],
)
def test_in_headers_also_keys_that_a_person_chose(text):
    assert "hunter2hunter2" not in redact(text.format("hunter2hunter2"))


@pytest.mark.parametrize("text", ["collection failed", "the work_rk_ is done", "bearer of news", "key=3"])
def test_other_words_stay(text):
    assert redact(text) == text


def test_a_log_under_errors_holds_no_key(capfd):
    """Keys in headers, query strings, paths and bodies, all of it in the words of exceptions."""

    async def fail(request: Request) -> None:
        body = (await request.body()).decode()
        log.info(
            "asked",
            headers=dict(request.headers),
            raw=request.scope["headers"],
            body=body,
            odd={1: {KEY}},
        )
        log.info(f"asked with {request.headers['api-key']}", request=request.headers)
        raise ValueError(f"{request.url} {request.headers} {body}")

    log = make_logger()
    app = Starlette(routes=[Route("/{rest:path}", fail, methods=["POST"])])
    app.add_middleware(RequestContext, log=log)
    client = TestClient(app)
    sent = {"authorization": PASSWORD, "api-key": KEY, "cookie": f"session={KEY}"}
    for path in (f"/x?key={KEY}", f"/v1/{KEY}/y"):
        response = client.post(path, headers=sent, json={"query": KEY, "keys": {"rk": [KEY]}})
        assert response.status_code == 500
        assert KEY not in response.text
    logged = capfd.readouterr().err
    lines = [json.loads(line) for line in logged.splitlines()]
    assert {line["event"] for line in lines} >= {"asked", "unexpected error", "request"}
    assert any("ValueError" in line.get("exception", "") for line in lines)
    for secret in (KEY, OTHER, PASSWORD.split()[1]):
        assert secret not in logged


def test_what_uvicorn_logs_holds_no_key(capfd):
    logging.config.dictConfig(uvicorn_log_config())
    logger = logging.getLogger("uvicorn.error")
    try:
        try:
            raise ValueError(f"no {KEY}")
        except ValueError:
            logger.exception("Exception in ASGI application: %s", f"Bearer {OTHER}")
    finally:
        uvicorn = logging.getLogger("uvicorn")
        for handler in list(uvicorn.handlers):
            uvicorn.removeHandler(handler)
        uvicorn.propagate = True
    logged = capfd.readouterr().err
    line = json.loads(logged)
    assert "ValueError" in line["exception"] and line["event"].startswith("Exception in ASGI")
    assert KEY not in logged and OTHER not in logged
