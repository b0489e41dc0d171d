from __future__ import annotations

import inspect
import json

import pytest

from retrieval import Engine, errors
from server.http.problems import STATUS_BY_ERROR, status_of
from tests.http.misbehaving import Broken

SEARCH = "/v1/collections/late/search"
JSON = {"content-type": "application/json"}


def every_error():
    return [
        value
        for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.RetrievalError) and value.__module__ == errors.__name__
    ]


def test_every_engine_error_has_a_status():
    assert len(every_error()) >= 16
    assert set(STATUS_BY_ERROR) == set(every_error())
    assert all(400 <= status < 600 for status in STATUS_BY_ERROR.values())


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_engine_error_becomes_a_problem(client, assert_problem, monkeypatch, kind):
    error = kind("x", "y") if kind is errors.MissingExtraError else kind("one clear sentence")

    def search(*_, **__):
        raise error

    monkeypatch.setattr(Engine, "search_batch", search)
    # Where a folder is there that the engine does not know, a restore has replaced it: another answer.
    monkeypatch.setattr("server.collections.registry.has_index", lambda path: False)
    response = client.post(SEARCH, json={"query": "wing"})
    body = assert_problem(response, STATUS_BY_ERROR[kind], kind.code)
    assert body["detail"] == str(error)
    assert ("retry-after" in response.headers) == (response.status_code == 503)


def test_an_error_class_of_tomorrow_takes_the_status_of_its_base():
    class Tomorrow(errors.IndexLockedError):
        pass

    assert status_of(Tomorrow("x")) == 503


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/query"),
        ({"query": ""}, "/query"),
        ({"query": " \n"}, "/query"),
        ({"query": "\x1e\x1c\x85\u3000"}, "/query"),
        ({"query": 5}, "/query"),
        ({"query": None}, "/query"),
        ({"query": "x", "limit": 0}, "/limit"),
        ({"query": "x", "limit": -1}, "/limit"),
        ({"query": "x", "limit": "3"}, "/limit"),
        ({"query": "x", "limit": 2.5}, "/limit"),
        ({"query": "x", "limit": True}, "/limit"),
        ({"query": "x", "limit": 10**30}, "/limit"),
        ({"query": "x", "fields": "text"}, "/fields"),
        ({"query": "x", "fields": ["title", "body"]}, "/fields/1"),
        ({"query": "x", "fields": ["title"] * 4}, "/fields"),
        ({"query": "x", "explain": "yes"}, "/explain"),
        ({"query": "x", "k": 3}, "/k"),
        ({"query": "x", "a/b~c": 3}, "/a~1b~0c"),
        ([], ""),
        ("text", ""),
        (7, ""),
        (None, ""),
    ],
)
def test_invalid_bodies_are_pointed_at(client, assert_problem, body, pointer):
    response = client.post(SEARCH, content=json.dumps(body), headers=JSON)
    found = assert_problem(response, 422, "invalid_request")
    assert [item["pointer"] for item in found["errors"]] == [pointer]
    assert found["errors"][0]["detail"] in found["detail"]


def test_all_that_is_wrong_is_told_at_once(client, assert_problem):
    found = assert_problem(client.post(SEARCH, json={"limit": 0, "x": 1}), 422, "invalid_request")
    assert {item["pointer"] for item in found["errors"]} == {"/limit", "/x"}


def test_many_mistakes_give_a_short_answer(client, assert_problem):
    response = client.post(SEARCH, json={"query": "x", **{f"k{i}": i for i in range(90)}})
    found = assert_problem(response, 422, "invalid_request")
    assert len(found["errors"]) == 20
    assert "89 more" in found["detail"]
    assert len(response.content) < 5000
    response = client.post(SEARCH, json={"query": "x", **{f"k{i}": i for i in range(5000)}})
    found = assert_problem(response, 422, "invalid_request")
    assert "5000 mistakes" in found["detail"]  # so many are not looked at one by one


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"{'query': 1}",
        b'{"query": "x",}',
        b"\xff\xfe\xfa",
        b'{"query": "\xff"}',
    ],
    ids=["cut", "quotes", "comma", "binary", "utf8"],
)
def test_malformed_json(client, assert_problem, content):
    assert_problem(client.post(SEARCH, content=content, headers=JSON), 400, "malformed_json")


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"[" * 100_000, "json_too_deep"), (b'{"limit": ' + b"9" * 5000 + b"}", "invalid_request")],
)
def test_json_that_is_too_much(client, assert_problem, content, code):
    assert_problem(client.post(SEARCH, content=content, headers=JSON), 422, code)


def test_lone_surrogates_do_not_break_the_answer(client, assert_problem):
    for content in (b'{"query": "\\ud800"}', b'{"query": "x", "\\ud800": 1}'):
        assert_problem(client.post(SEARCH, content=content, headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-ndjson"},
        {},
        {**JSON, "content-encoding": "gzip"},
    ],
)
def test_only_plain_json_is_taken(client, assert_problem, headers):
    response = client.post(SEARCH, content=b'{"query": "wing"}', headers=headers)
    assert_problem(response, 415, "unsupported_media_type")


def test_json_with_a_charset_is_taken(client):
    headers = {"content-type": "application/json; charset=utf-8"}
    assert client.post(SEARCH, content=b'{"query": "wing"}', headers=headers).status_code == 200


def test_unknown_route(client, assert_problem):
    for path in ("/", "/v2/collections", "/v1/collections/", "/v1/collections/late/find"):
        assert path in assert_problem(client.get(path), 404, "route_not_found")["detail"]


def test_wrong_method(client, assert_problem):
    response = client.get(SEARCH)
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def padded(size: int) -> bytes:
    body = b'{"query": "wing"}'
    return body + b" " * (size - len(body))


def chunks(content: bytes):
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_body_at_the_limit_and_one_beyond(serve, assert_problem, declared):
    with serve(max_body_bytes=4096) as client:

        def post(size):
            content = padded(size) if declared else chunks(padded(size))
            return client.post(SEARCH, content=content, headers=JSON)

        assert post(4096).status_code == 200
        assert "4096" in assert_problem(post(4097), 413, "body_too_large")["detail"]


def test_a_large_body_is_refused_before_it_is_parsed(serve, assert_problem):
    with serve() as client:
        broken = b"{" * ((1 << 20) + 1)
        assert_problem(client.post(SEARCH, content=broken, headers=JSON), 413, "body_too_large")


def test_limits_at_and_one_beyond(serve, assert_problem):
    with serve(max_limit=20, max_explained=12, max_query_chars=30) as client:

        def post(**body):
            return client.post(SEARCH, json={"query": "wing", **body})

        assert len(post(limit=20).json()["hits"]) == 20
        body = assert_problem(post(limit=21), 422, "invalid_request")
        assert body["errors"] == [{"pointer": "/limit", "detail": "21 hits; the most is 20"}]
        assert len(post(limit=12, explain=True).json()["hits"]) == 12
        body = assert_problem(post(limit=13, explain=True), 422, "invalid_request")
        assert body["errors"][0]["detail"] == "13 hits; the most is 12 with 'explain'"
        assert post(query="x" * 30).status_code == 200
        body = assert_problem(post(query="x" * 31, limit=21), 422, "invalid_request")
        assert [item["pointer"] for item in body["errors"]] == ["/query", "/limit"]


def test_the_unexpected_is_a_problem_and_goes_to_the_log(serve, encoders, assert_problem, capfd):
    broken = Broken()
    with serve(given={**encoders, "dense": broken}) as client:
        broken.armed = True
        response = client.post("/v1/collections/dense/search", json={"query": "wing"})
        body = assert_problem(response, 500, "internal")
        assert "secret" not in response.text and "ZeroDivision" not in response.text
        assert client.get("/livez").status_code == 200
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    logged = next(line for line in lines if line["event"] == "unexpected error")
    assert logged["request_id"] == body["request_id"]
    assert "ZeroDivisionError" in logged["exception"]
