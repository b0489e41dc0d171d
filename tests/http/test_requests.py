from __future__ import annotations

import json
import sys

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from server.app import create_app
from server.observing.logs import make_logger
from server.settings import ServerSettings

SEARCH = "/v1/collections/late/search"


def test_a_sane_request_id_comes_back(client):
    response = client.get("/livez", headers={"x-request-id": "abc-1.2_3"})
    assert response.headers["x-request-id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "<script>", "x" * 129, "é".encode()])
def test_another_one_is_replaced(client, given):
    made = client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"]
    assert len(made) == 32
    assert int(made, 16) >= 0


def test_each_request_has_its_own_id(client):
    assert len({client.get("/livez").headers["x-request-id"] for _ in range(5)}) == 5


def test_one_log_line_a_request_without_the_query(capfd, client):
    capfd.readouterr()
    client.post(SEARCH, json={"query": "confidential wing"}, headers={"x-request-id": "id-1"})
    client.post(SEARCH, json={"query": "confidential", "limit": 0}, headers={"x-request-id": "id-2"})
    captured = capfd.readouterr()
    assert "confidential" not in captured.err + captured.out
    lines = [json.loads(line) for line in captured.err.splitlines()]
    assert [(line["request_id"], line["status"]) for line in lines] == [("id-1", 200), ("id-2", 422)]
    assert all(
        (line["event"], line["method"], line["path"], line["level"]) == ("request", "POST", SEARCH, "info")
        for line in lines
    )
    assert all(line["ms"] > 0 and line["timestamp"] for line in lines)


def test_a_path_cannot_forge_a_log_line(capfd, client):
    capfd.readouterr()
    client.get('/x%0a{"event":"forged"}')
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["request"]


def test_a_log_that_cannot_be_written_fails_nothing(client, monkeypatch, tmp_path):
    closed = (tmp_path / "log").open("w")
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    make_logger().info("lost")
    assert client.get("/livez").status_code == 200


def test_routes_are_made_before_the_first_request(tmp_path, monkeypatch):
    """FastAPI makes a type adapter for each argument of a route. (Of arguments that are a model's it makes
    more at the first request, once a process: none has any here.)"""
    app = create_app(ServerSettings(data_dir=tmp_path))

    def refuse(*_, **__):
        raise AssertionError("made while a client waits")

    monkeypatch.setattr(TypeAdapter, "__init__", refuse)
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/v1/collections/none").status_code == 404
        assert client.post("/v1/collections/none/search", json={"query": "a"}).status_code == 404
        assert client.delete("/v1/aliases/none").status_code == 404
