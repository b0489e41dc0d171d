"""What a key for one collection learns and does of the others, and what one small request costs."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect, Request

from retrieval.errors import FilterError, IndexDamagedError
from retrieval.filters.paths import resolve
from server.documents.bodies import DocumentRows
from server.http import routing
from server.http.problems import ProblemError
from server.http.ranges import check_range
from server.security import limits
from server.security.access import new_key
from server.security.keys import KeySettings

SECRET = "late"
"""The collection that the key `reader` (and `owner`, an admin of others) has nothing to do with."""


@pytest.fixture
def keyed(serve, indexes: Path, tmp_path: Path) -> Iterator[tuple[TestClient, dict[str, dict[str, str]]]]:
    """A server, and the headers of its keys: reader (dense), owner (admin of mine-*), admin."""
    made = {name: new_key() for name in ("reader", "owner", "admin")}
    rights = {
        "reader": ("read", ("dense",)),
        "owner": ("admin", ("mine-*", "dense")),
        "admin": ("admin", ("*",)),
    }
    keys = {
        name: KeySettings(sha256=made[name][1], scope=scope, collections=collections)
        for name, (scope, collections) in rights.items()
    }
    shutil.copytree(indexes, tmp_path / "data")
    with serve(keys=keys, wait=False, data_dir=tmp_path / "data") as client:
        sent = {name: {"api-key": key} for name, (key, _) in made.items()}
        while client.get("/readyz").status_code != 200:
            pass
        yield client, sent


def search(client: TestClient, headers: dict[str, str], collection: str = "dense", **asked: Any) -> Any:
    return client.post(
        f"/v1/collections/{collection}/search", json={"query": "wing", **asked}, headers=headers
    )


class TestNames:
    """What there is is told only to who may read it."""

    def test_who_asks_for_what_is_not_there_hears_of_nothing_else(self, keyed, assert_problem):
        client, sent = keyed
        told = client.get("/v1/collections/mine-3", headers=sent["owner"])
        assert SECRET not in assert_problem(told, 404, "unknown_collection")["detail"]

    @pytest.mark.parametrize("name", [SECRET, "no-such", "../late", "", "a" * 5000])
    def test_a_second_collection_of_a_hybrid_search_is_refused_whether_or_not_it_is_there(
        self, keyed, assert_problem, name
    ):
        client, sent = keyed
        told = search(client, sent["reader"], mode="hybrid", hybrid={"dense": name})
        assert "known" not in assert_problem(told, 403, "forbidden")["detail"]

    @pytest.mark.parametrize("key", ["reader", "owner"])
    def test_where_an_alias_leads_is_not_told(self, keyed, assert_problem, key):
        client, sent = keyed
        alias = {"collection": SECRET}
        assert client.put("/v1/aliases/mine-hidden", json=alias, headers=sent["admin"]).status_code == 200
        calls = [
            client.get("/v1/collections/mine-hidden", headers=sent[key]),
            client.get("/v1/tasks?collection=mine-hidden", headers=sent[key]),
            search(client, sent[key], "mine-hidden"),
            search(client, sent[key], mode="hybrid", hybrid={"dense": "mine-hidden"}),
            client.put("/v1/aliases/mine-hidden", json={"collection": "dense"}, headers=sent[key]),
            client.delete("/v1/aliases/mine-hidden", headers=sent[key]),
        ]
        for response in calls:
            assert SECRET not in assert_problem(response, 403, "forbidden")["detail"]
        for path in ("/v1/aliases", "/v1/collections", "/v1/tasks", "/metrics"):
            assert SECRET not in client.get(path, headers=sent[key]).text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/collections/late", None),
        ("GET", "/v1/collections/late/", None),
        ("GET", "/v1/collections//late", None),
        ("GET", "/V1/collections/late", None),
        ("GET", "/v1/collections/LATE", None),
        ("GET", "/v1/collections/dense%2F..%2Flate", None),
        ("GET", "/v1/collections/dense%2f%2e%2e%2flate/documents/d00", None),
        ("GET", "/v1/collections/late%2Fdocuments%2Fd00", None),
        ("GET", "/v1/collections/l%61te/documents/d00", None),
        ("HEAD", "/v1/collections/late", None),
        ("OPTIONS", "/v1/collections/late", None),
        ("POST", "/v1/collections/late/search", {"query": "wing"}),
        ("POST", "/v1/collections/late/search/batch", {"searches": [{"query": "wing"}]}),
        ("POST", "/v1/collections/late/documents/fetch", {"ids": ["d00"]}),
        ("PUT", "/v1/collections/late", {"encoder": "minilm"}),
        ("DELETE", "/v1/collections/late", None),
        ("PUT", "/v1/aliases/mine-x", {"collection": "late"}),
        ("PUT", "/v1/aliases/late", {"collection": "dense"}),
        ("POST", "/v1/aliases", {"actions": [{"action": "put", "alias": "mine-x", "collection": "late"}]}),
        ("GET", "/v1/collections/late/snapshots", None),
        ("GET", "/v1/collections/late/snapshots/s", None),
        ("POST", "/v1/collections/late/snapshots/s/restore", {"collection": "mine-x"}),
        ("POST", "/v1/collections/dense/snapshots/s/restore", {"collection": "late"}),
    ],
)
@pytest.mark.parametrize("override", [{}, {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/livez"}])
def test_no_way_around_a_key(keyed, method, path, body, override):
    client, sent = keyed
    response = client.request(method, path, json=body, headers={**sent["owner"], **override})
    assert response.status_code in (403, 404, 405), response.text
    assert "Lift and drag" not in response.text
    if response.status_code == 404 and "route" not in response.json()["code"]:
        # A name that is none, and no more than that.
        assert response.json()["code"] in ("unknown_collection", "unknown_snapshot")


def test_tasks_and_remembered_answers_are_ones_own(keyed, assert_problem):
    client, sent = keyed
    task = client.post("/v1/collections/late/verify", json={}, headers=sent["admin"]).json()["id"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        body = {} if method == "POST" else None
        response = client.request(method, f"/v1/tasks/{task}{path}", json=body, headers=sent["owner"])
        assert_problem(response, 404, "unknown_task")
    key, url = {"Idempotency-Key": "same"}, "/v1/collections/dense/documents/delete"
    first = client.post(url, json={"ids": ["no"]}, headers={**sent["admin"], **key})
    other = client.post(url, json={"ids": ["other"]}, headers={**sent["owner"], **key})
    assert (first.status_code, other.status_code) == (200, 200)
    assert "idempotency-replayed" not in other.headers


def test_an_alias_that_moves_while_a_body_comes_leads_nowhere_new(keyed):
    """A body can be sent as slowly as its sender likes, and the right was looked at before."""
    client, sent = keyed
    alias = {"collection": "dense"}
    assert client.put("/v1/aliases/mine", json=alias, headers=sent["admin"]).status_code == 200
    path, answers = b"/v1/collections/mine/documents/fetch", []

    async def receive() -> dict[str, Any]:
        client.app.state.context.store.change_aliases({"mine": SECRET}, [])
        return {"type": "http.request", "body": b'{"ids": ["d00"]}', "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    headers = {"host": "localhost", "content-type": "application/json", **sent["reader"]}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    client.portal.call(client.app, scope, receive, send)
    assert answers[0]["status"] == 403
    assert b"Lift" not in answers[1]["body"]


class TestSmallRequests:
    """One that is cheap to send is cheap to answer."""

    @pytest.mark.parametrize(
        ("path", "body", "pointer"),
        [
            ("documents/fetch", {"ids": [1] * 5000}, "/ids/0"),
            ("search", {"vector": ["a"] * 5000}, "/vector/0"),
            ("search", {"vectors": [["a"]] * 5000}, "/vectors/0/0"),
            ("search/batch", {"searches": [{"query": 1}] * 5000}, "/searches/0/query"),
            ("explain", {"query": "wing", "ids": [1] * 5000}, "/ids/0"),
            ("diagnose", {"queries": [1] * 5000}, "/queries/0"),
        ],
    )
    def test_a_list_is_read_as_far_as_its_first_mistake(self, client, assert_problem, path, body, pointer):
        """To write down each of some hundred thousand takes seconds, during which nobody else is served."""
        body = assert_problem(client.post(f"/v1/collections/dense/{path}", json=body), 422, "invalid_request")
        assert [each["pointer"] for each in body["errors"]] == [pointer]

    @pytest.mark.parametrize(
        "body",
        [
            {f"m{i}": 0 for i in range(5000)},
            {"query": "wing", "params": {f"m{i}": 0 for i in range(5000)}},
            {"query": "wing", "mode": "hybrid", "hybrid": {"weights": {f"m{i}": 0 for i in range(5000)}}},
        ],
    )
    def test_of_many_mistakes_the_number_is_told(self, client, assert_problem, body):
        body = assert_problem(client.post("/v1/collections/dense/search", json=body), 422, "invalid_request")
        assert len(body["errors"]) == 1
        assert "mistakes" in body["detail"] and "m17" not in body["detail"]

    def test_so_it_is_with_parameters(self, client, assert_problem):
        response = client.get("/v1/collections?" + "&".join(f"p{i}" for i in range(5000)))
        assert "mistakes" in assert_problem(response, 422, "invalid_request")["detail"]

    def test_a_field_of_dots_is_not_looked_up_at_each(self):
        """A megabyte of dots took minutes, on one thread and nearly all of the interpreter's lock."""

        class Counting(dict):
            asked = 0

            def __contains__(self, name: object) -> bool:
                self.asked += 1
                return super().__contains__(name)

        fields = Counting({"year": pa.int64()})
        with pytest.raises(FilterError, match="unknown field"):
            resolve("." * 100_000, fields)
        assert fields.asked < 20

    @pytest.mark.parametrize(
        ("item", "is_many"),
        [
            (b"{}", True),
            (b"0", True),
            (b'""', True),
            (b'"\\\\"', True),
            (b'",,\\",,"', False),
            (b'"\\\\\\",,"', False),
        ],
    )
    def test_a_body_of_next_to_nothing_very_often_is_refused(self, monkeypatch, item, is_many):
        """Compressed to some kilobytes, it became gigabytes of objects."""
        monkeypatch.setattr(limits, "MAX_VALUES", 1000)
        body = b'{"documents":[' + b",".join([item] * (1002 if is_many else 900)) + b"]}"
        if not is_many:
            assert len(limits.parse_json(body, 64)["documents"]) == 900
            return
        with pytest.raises(ProblemError) as caught:
            limits.parse_json(body, 64)
        assert (caught.value.status, caught.value.code) == (413, "too_many_values")

    @pytest.mark.parametrize("block", [1 << 20, 7])
    @pytest.mark.parametrize(
        ("body", "is_many"),
        [
            (b"[[%s],[%s]]" % (b"0," * 49 + b"0", b"0," * 49 + b"0"), False),
            (b"[%s0]" % (b"0," * 100), False),
            (b"[%s0]" % (b"0," * 101), True),
            (b'{"a":{"b":[%s0]},"c":[%s0]}' % (b"0," * 50, b"0," * 49), False),
            (b'{"a":{"b":[%s0]},"c":[%s0]}' % (b"0," * 50, b"0," * 51), True),
            (b"[%s]" % b",".join([b'{"v":[%s0]}' % (b"0," * 98)] * 9), False),
            (b"[%s0,%s]" % (b"0," * 101, b",".join([b"{}"] * 200)), True),
            (b'["%s{\\"",%s0]' % (b"," * 300, b"0," * 90), False),
        ],
    )
    def test_so_are_many_numbers_in_a_row(self, monkeypatch, body, is_many, block):
        """They are parsed in one go, in which nothing else is done; vectors may come in base64."""
        monkeypatch.setattr(limits, "MAX_LISTED", 100)
        monkeypatch.setattr(limits, "_BLOCK", block)
        if not is_many:
            assert limits.parse_json(body, 64) == json.loads(body)
            return
        with pytest.raises(ProblemError, match="base64") as caught:
            limits.parse_json(body, 64)
        assert (caught.value.status, caught.value.code) == (413, "too_many_values")

    def test_so_is_a_line_of_a_body(self, monkeypatch):
        monkeypatch.setattr(limits, "MAX_VALUES", 1000)
        body = b'{"id": "a", "text": "x", "vectors": [' + b"[1]," * 1001 + b"[1]]}\n"
        with pytest.raises(ProblemError) as caught:
            list(DocumentRows(io.BytesIO(body), "ndjson", max_depth=64))
        assert (caught.value.status, caught.value.code) == (413, "too_many_values")

    def test_a_batch_reads_the_texts_in_few_languages(self, client, assert_problem):
        """Each keeps the terms of all texts, and all of them at once as long as the request lasts."""
        asked = [
            {"query": "wing", "mode": "hybrid", "hybrid": {"language": language}}
            for language in ("english", "german", "french")
        ]
        url = "/v1/collections/late/search/batch"
        assert client.post(url, json={"searches": asked[:2]}).status_code == 200
        body = assert_problem(client.post(url, json={"searches": asked}), 422, "invalid_request")
        assert body["errors"][0]["pointer"] == "/searches"


def receiving(*messages: dict[str, Any], after: float = 3600.0) -> Any:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(after)
        return left.pop(0)

    return receive


class TestBodies:
    def test_one_that_does_not_come_is_not_waited_for(self, monkeypatch):
        """It holds a place among the requests in flight, and whoever has a key could hold them all."""
        monkeypatch.setattr(routing, "BODY_SECONDS", 0.05)
        first = {"type": "http.request", "body": b"{", "more_body": True}

        async def read() -> None:
            receive = routing._limited(receiving(first), 1000)
            assert (await receive())["body"] == b"{"
            await receive()

        with pytest.raises(ProblemError) as caught:
            asyncio.run(read())
        assert (caught.value.status, caught.value.code) == (408, "body_too_slow")

    def test_one_that_has_come_leaves_all_the_time_there_is(self, monkeypatch):
        monkeypatch.setattr(routing, "BODY_SECONDS", 0.05)
        whole, gone = {"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}

        async def later() -> dict[str, Any]:
            await asyncio.sleep(0.2)
            return gone

        async def read() -> None:
            answers = iter([receiving(whole), later])

            async def either() -> dict[str, Any]:
                return await next(answers)()

            receive = routing._limited(either, 1000)
            assert await receive() == whole
            assert await receive() == gone

        asyncio.run(read())

    def test_one_that_is_cut_off_is_no_error_of_ours(self):
        class Gone(Request):
            async def body(self) -> bytes:
                raise ClientDisconnect

        with pytest.raises(ProblemError) as caught:
            asyncio.run(routing._whole(Gone({"type": "http", "headers": []})))
        assert (caught.value.status, caught.value.code) == (400, "body_cut_off")


@pytest.mark.parametrize("given", ["", "bytes=0-0", "bytes=5-", "bytes=-5", "bytes=0-99", " bytes=99-99 "])
def test_a_range_that_is_there(given):
    headers = [(b"range", given.encode())] if given else []
    check_range(Request({"type": "http", "headers": headers}), 100)


@pytest.mark.parametrize(
    "given",
    [
        "bytes=9-1",
        "bytes=100-",
        "bytes=-0",
        "bytes=-",
        "bytes=0-1,3-4",
        "lines=1-2",
        "\x80",
        "bytes=" + "9" * 5000,
    ],
)
def test_a_range_that_is_not(given):
    with pytest.raises(ProblemError) as caught:
        check_range(Request({"type": "http", "headers": [(b"range", given.encode("latin-1"))]}), 100)
    assert caught.value.status == 416
    assert caught.value.headers == {"Content-Range": "bytes */100"}


def test_a_write_into_a_folder_that_is_being_replaced_may_be_sent_again(client):
    """It found the folder without its lock, or with somebody else's, and said that the index was damaged."""
    registry = client.app.state.context.registry
    with registry.changing("dense"), pytest.raises(ProblemError) as caught, registry.lease("dense"):
        raise IndexDamagedError("writer.lock is missing")
    assert (caught.value.status, caught.value.code) == (503, "collection_busy")
    with pytest.raises(IndexDamagedError), registry.lease("dense"):
        raise IndexDamagedError("writer.lock is missing")
