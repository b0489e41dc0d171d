from __future__ import annotations

import gzip
import json
from datetime import date, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from retrieval import Document, Engine
from retrieval.storage import writer_lock
from tests.encoders import HashingDense
from tests.http.papers import PAPERS, paper, read_all, serve_papers
from tests.http.test_bodies import as_json, as_lines, stream_of

NDJSON = {"content-type": "application/x-ndjson"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
STRANGE_IDS = [
    "a/b",
    "/leading",
    "trailing/",
    "a//b",
    "..",
    "../../etc/passwd",
    ".",
    "a%2Fb",
    "%",
    "%00",
    "50% ?x=1#y",
    "ü/日本/🛩",
    "a b",
    "a+b",
    "e\u0301",
    "\u00e9",
    "\ufffd",
    "\u202e",
    "q\"'<script>",
    "fetch",
    "x" * 512,
]


@pytest.fixture
def papers(serve, tmp_path):
    with serve_papers(serve, tmp_path / "data") as client:
        yield client


def put(client, documents, **query):
    return client.post(PAPERS, json={"documents": documents}, params=query)


# -- writing --------------------------------------------------------------------------------------


def test_what_was_written_is_there_at_once(papers):
    given = [paper(i, tags=["x"], inner={"a": True, "b": 1.5}) for i in range(3)]
    response = put(papers, given)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["documents"], answer["replaced"], answer["skipped"], answer["errors"]) == (3, 0, 0, [])
    assert set(answer["timings_ms"]) == {"receive", "queue", "encode", "write", "total"}
    assert papers.get(f"{PAPERS}/p1").json() == given[1]
    counted = papers.post(f"{PAPERS}/count", json={}).json()
    assert counted == {"count": 3, "generation": answer["generation"]}
    assert read_all(papers) == given


def test_json_lines_and_arrow_and_gzip_are_the_same_documents(papers):
    given = [paper(i) for i in range(20)]
    table = pa.table(
        {name: [document[name] for document in given] for name in ("id", "title", "text")}
        | {"number": list(range(20))}
    )
    for body, headers in [
        (as_lines(given), NDJSON),
        (stream_of(table), ARROW),
        (gzip.compress(as_lines(given)), {**NDJSON, "content-encoding": "gzip"}),
        (gzip.compress(json.dumps({"documents": given}).encode()), {"content-encoding": "GZIP"}),
    ]:
        papers.post(f"{PAPERS}/delete", json={"ids": [document["id"] for document in given]})
        response = papers.post(PAPERS, content=body, headers={"content-type": "application/json", **headers})
        assert response.status_code == 200, response.text
        assert response.json()["documents"] == 20
        assert read_all(papers) == given


def test_upsert_replaces_and_the_last_of_an_id_counts(papers):
    put(papers, [paper(1), paper(2)])
    answer = put(papers, [paper(1, v=1), paper(3, v=1), paper(1, v=2)]).json()
    assert (answer["documents"], answer["replaced"]) == (2, 1)
    assert papers.get(f"{PAPERS}/p1").json()["metadata"]["v"] == 2
    assert papers.post(f"{PAPERS}/count", json={}).json()["count"] == 3


def test_add_refuses_an_id_that_is_there_and_writes_nothing(papers, assert_problem):
    put(papers, [paper(1)])
    given = [paper(0), paper(1), paper(2), paper(2)]
    body = assert_problem(put(papers, given, mode="add"), 422, "bad_documents")
    assert [error["pointer"] for error in body["errors"]] == ["/documents/1", "/documents/3"]
    assert all("duplicate id" in error["detail"] for error in body["errors"])
    assert [document["id"] for document in read_all(papers)] == ["p1"]
    answer = put(papers, given, mode="add", on_error="skip").json()
    assert (answer["documents"], answer["replaced"], answer["skipped"]) == (2, 0, 2)
    assert [(error["index"], error["id"], error["code"]) for error in answer["errors"]] == [
        (1, "p1", "bad_data"),
        (3, "p2", "bad_data"),
    ]


def mixed():
    good = [paper(i) for i in range(4)]
    return [good[0], {"id": "x"}, good[1], 7, {**paper(9), "metadata": {"number": "nine"}}, good[2], good[3]]


def test_all_bad_documents_are_named_and_none_is_written(papers, assert_problem):
    body = assert_problem(put(papers, mixed()), 422, "bad_documents")
    assert [error["pointer"] for error in body["errors"]] == [f"/documents/{i}" for i in (1, 3, 4)]
    assert "3 of 7" in body["detail"]
    assert all("/documents" not in error["detail"] for error in body["errors"])
    assert papers.post(f"{PAPERS}/count", json={}).json()["count"] == 0


def test_skipping_writes_the_others(papers):
    answer = put(papers, mixed(), on_error="skip").json()
    assert (answer["documents"], answer["skipped"]) == (4, 3)
    assert [(error["index"], error["id"]) for error in answer["errors"]] == [(1, "x"), (3, None), (4, "p9")]
    assert [document["id"] for document in read_all(papers)] == ["p0", "p1", "p2", "p3"]


def test_nothing_but_bad_documents_is_no_error_where_they_are_skipped(papers):
    answer = put(papers, [{"id": "x"}], on_error="skip").json()
    assert (answer["documents"], answer["skipped"]) == (0, 1)


def test_a_refusal_names_a_hundred(papers, assert_problem):
    body = assert_problem(put(papers, [{"id": "x"}] * 150), 422, "bad_documents")
    assert len(body["errors"]) == 100
    assert "150 of 150" in body["detail"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "malformed_json"),
        (b'{"documents": []}', {"content-type": "application/json"}, 422, "invalid_request"),
        (b"", NDJSON, 422, "invalid_request"),
        (b"no arrow", ARROW, 422, "bad_data"),
        (b"no gzip", {**NDJSON, "content-encoding": "gzip"}, 400, "malformed_gzip"),
        (gzip.compress(b"{}", mtime=0)[:-3], {**NDJSON, "content-encoding": "gzip"}, 400, "malformed_gzip"),
        (b"{}", {**NDJSON, "content-encoding": "br"}, 415, "unsupported_media_type"),
        (b"id,text", {"content-type": "text/csv"}, 415, "unsupported_media_type"),
        (b"{}", {}, 415, "unsupported_media_type"),
    ],
)
def test_a_body_that_cannot_be_read(papers, assert_problem, body, headers, status, code, on_error):
    response = papers.post(PAPERS, content=body, headers=headers, params={"on_error": on_error})
    assert_problem(response, status, code)


@pytest.mark.parametrize("query", [{"mode": "replace"}, {"ack": "never"}, {"on_eror": "skip"}])
def test_an_unknown_way_to_write_is_refused(papers, assert_problem, query):
    body = assert_problem(put(papers, [paper(1)], **query), 422, "invalid_request")
    assert body["errors"][0]["pointer"] == f"/{next(iter(query))}"


@pytest.mark.parametrize("is_gzip", [False, True])
def test_limits_hold_at_the_limit_and_one_beyond(serve, tmp_path, assert_problem, is_gzip):
    line = as_lines([paper(1)])
    limit = 4096
    body = line + b" " * (limit - len(line))
    headers = {**NDJSON, "content-encoding": "gzip" if is_gzip else "identity"}
    pack = gzip.compress if is_gzip else bytes
    settings = {"max_documents_bytes": limit, "max_documents": 3}
    with serve_papers(serve, tmp_path / "data", **settings) as client:
        assert client.post(PAPERS, content=pack(body), headers=headers).status_code == 200
        response = client.post(PAPERS, content=pack(body + b" "), headers=headers)
        assert_problem(response, 413, "body_too_large")
        chunks = iter([pack(body), b"" if is_gzip else b" "])
        assert client.post(PAPERS, content=chunks, headers=headers).status_code == (200 if is_gzip else 413)
        assert put(client, [paper(i) for i in range(3)]).status_code == 200
        assert_problem(put(client, [paper(i) for i in range(4)]), 422, "invalid_request")


def test_a_large_batch_goes_to_segments_at_once(serve, tmp_path, assert_problem):
    given = [paper(i) for i in range(3000)]
    with serve_papers(serve, tmp_path / "data") as client:
        assert put(client, given).json()["documents"] == 3000
        bad = [*given[:2999], {"id": "x"}]
        body = assert_problem(put(client, bad), 422, "bad_documents")
        assert [error["pointer"] for error in body["errors"]] == ["/documents/2999"]
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == 3000


def test_dates_come_from_arrow_and_go_out_as_texts(papers):
    days = pa.array([date(1958, 3, 1), None], pa.date32())
    table = pa.table({"id": ["a", "b"], "text": ["t", "u"], "day": days})
    papers.post(PAPERS, content=stream_of(table), headers=ARROW)
    assert papers.get(f"{PAPERS}/a").json()["metadata"] == {"day": "1958-03-01"}
    faceted = papers.post(f"{PAPERS}/facets", json={"field": "day"}).json()
    assert faceted["values"] == [{"value": "1958-03-01", "count": 1}]
    counted = papers.post(f"{PAPERS}/count", json={"filter": {"day": {"lt": "1960-01-01"}}}).json()
    assert counted["count"] == 1


def test_a_document_that_was_read_can_be_written_back(papers, assert_problem):
    noon = datetime(2001, 2, 3, 12, 0, 0, 5)
    columns = {
        "day": pa.array([date(1958, 3, 1)], pa.date32()),
        "naive": pa.array([noon], pa.timestamp("us")),
        "aware": pa.array([noon], pa.timestamp("us", tz="UTC")),
        "word": ["1958-03-01"],
    }
    table = pa.table({"id": ["a"], "title": ["t"], "text": ["u"], **columns})
    papers.post(PAPERS, content=stream_of(table), headers=ARROW)
    read = papers.get(f"{PAPERS}/a").json()
    assert read["metadata"]["aware"] == "2001-02-03T12:00:00.000005+00:00"
    for i, body in enumerate([as_json([{**read, "id": "b"}]), as_lines([{**read, "id": "c"}])]):
        headers = [{"content-type": "application/json"}, NDJSON][i]
        assert papers.post(PAPERS, content=body, headers=headers).status_code == 200
        assert papers.get(f"{PAPERS}/{'bc'[i]}").json() == {**read, "id": "bc"[i]}
    wanted = {"filter": {"day": {"lt": "1960-01-01"}, "aware": {"gte": "2001-02-03"}}}
    assert papers.post(f"{PAPERS}/count", json=wanted).json()["count"] == 3
    for field, value in [
        ("day", "1958-03-01x"),
        ("day", "soon"),
        ("naive", "1958-03-01"),
        ("aware", "2001-02-30"),
    ]:
        bad = {**read, "metadata": {field: value}}
        body = assert_problem(put(papers, [paper(1), bad]), 422, "bad_documents")
        assert [error["pointer"] for error in body["errors"]] == ["/documents/1"]


def test_an_index_that_another_process_writes_is_busy(papers, tmp_path, assert_problem):
    with writer_lock(tmp_path / "data" / "papers"):
        for response in (put(papers, [paper(1)]), papers.post(f"{PAPERS}/delete", json={"ids": ["p1"]})):
            assert_problem(response, 503, "index_locked")
            assert int(response.headers["retry-after"]) >= 1
    assert put(papers, [paper(1)]).status_code == 200


def test_an_unknown_collection_and_a_server_that_only_reads(serve, papers, tmp_path, assert_problem):
    other = PAPERS.replace("papers", "none")
    given = {"documents": [paper(1)]}
    for path in (other, f"{other}?ack=task"):
        assert_problem(papers.post(path, json=given), 404, "unknown_collection")
    assert_problem(papers.get(f"{other}/p1"), 404, "unknown_collection")
    assert_problem(papers.post(f"{other}/delete", json={"ids": ["a"]}), 404, "unknown_collection")
    with serve_papers(serve, tmp_path / "data", read_only=True) as reader:
        assert_problem(put(reader, [paper(1)]), 403, "read_only")
        assert_problem(reader.post(f"{PAPERS}/delete", json={"ids": ["a"]}), 403, "read_only")
        assert reader.post(f"{PAPERS}/count", json={}).json()["count"] == 0


# -- reading --------------------------------------------------------------------------------------


def get_raw(client: TestClient, path: str) -> httpx.Response:
    """GET with the path decoded once, as servers do it: the client for tests does it twice."""

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url=str(client.base_url)) as once:
            return await once.get(path)

    assert client.portal is not None
    return client.portal.call(get)


def test_strange_ids_make_the_round_trip(papers):
    given = [{"id": doc_id, "title": "", "text": f"number {i}"} for i, doc_id in enumerate(STRANGE_IDS)]
    assert put(papers, given).json()["documents"] == len(STRANGE_IDS)
    for document in given:
        shown = {**document, "metadata": {}}
        # A client may shorten dots in a path, so these are asked for otherwise.
        if ".." not in document["id"] and document["id"] != ".":
            assert get_raw(papers, f"{PAPERS}/{quote(document['id'], safe='')}").json() == shown
        fetched = papers.post(f"{PAPERS}/fetch", json={"ids": [document["id"]]}).json()
        assert fetched["documents"] == [shown]
    assert papers.get(f"{PAPERS}/a/b").json()["id"] == "a/b"
    deleted = papers.post(f"{PAPERS}/delete", json={"ids": STRANGE_IDS}).json()
    assert deleted["deleted"] == len(STRANGE_IDS)


@pytest.mark.parametrize("path", ["none", "%00", "a%0db", "x" * 5000, "%F0%9F%9B%A9", ""])
def test_no_document(papers, assert_problem, tmp_path, path):
    body = assert_problem(papers.get(f"{PAPERS}/{path}"), 404, "document_not_found")
    assert str(tmp_path) not in body["detail"]


@pytest.mark.parametrize("path", ["%FF", "a%C3", "%ED%A0%80"])
def test_a_path_that_is_no_text_names_no_document(papers, assert_problem, path):
    put(papers, [{"id": "\ufffd", "text": "t"}, {"id": "a\ufffd", "text": "t"}])
    assert_problem(papers.get(f"{PAPERS}/{path}"), 400, "bad_path")


def test_fetch_gives_what_was_asked_for_in_order(papers):
    put(papers, [paper(i) for i in range(5)])
    ids = ["p3", "none", "p0", "p3", "also none"]
    answer = papers.post(f"{PAPERS}/fetch", json={"ids": ids, "fields": ["title"]}).json()
    assert answer["documents"] == [{"id": "p3", "title": "Study 3"}, {"id": "p0", "title": "Study 0"}]
    assert answer["missing"] == ["none", "also none"]
    assert answer["generation"] == papers.post(f"{PAPERS}/count", json={}).json()["generation"]
    bare = papers.post(f"{PAPERS}/fetch", json={"ids": ["p1"], "fields": []}).json()
    assert bare["documents"] == [{"id": "p1"}]


def test_scroll_is_in_the_order_of_coming(papers):
    given = [paper(i, odd=i % 2) for i in range(20)]
    for start in range(0, 20, 5):
        put(papers, given[start : start + 5])
    put(papers, [paper(3, odd=1, again=True)])
    order = [*(i for i in range(20) if i != 3), 3]
    assert [document["id"] for document in read_all(papers)] == [f"p{i}" for i in order]
    odd = read_all(papers, filter={"odd": 1}, fields=[])
    assert odd == [{"id": f"p{i}"} for i in order if i % 2]
    page = papers.post(f"{PAPERS}/scroll", json={}).json()
    assert (len(page["documents"]), page["next_cursor"]) == (20, None)


def test_what_cannot_be_asked_is_refused(serve, tmp_path, assert_problem):
    with serve_papers(serve, tmp_path / "data", max_documents=5, max_limit=10) as client:
        put(client, [paper(1)])
        for path, body, code in [
            ("fetch", {"ids": []}, "invalid_request"),
            ("fetch", {"ids": ["a"] * 6}, "invalid_request"),
            ("fetch", {"ids": [3]}, "invalid_request"),
            ("fetch", {"ids": ["a"], "fields": ["vector"]}, "invalid_request"),
            ("fetch", {"ids": ["a"], "more": 1}, "invalid_request"),
            ("delete", {}, "invalid_request"),
            ("delete", {"ids": ["a"], "filter": {"number": 1}}, "invalid_request"),
            ("delete", {"ids": ["a"] * 6}, "invalid_request"),
            ("delete", {"filter": {}}, "bad_query"),
            ("delete", {"filter": {"none": 1}}, "bad_filter"),
            ("scroll", {"limit": 0}, "invalid_request"),
            ("scroll", {"limit": 6}, "invalid_request"),
            ("scroll", {"cursor": "x"}, "bad_query"),
            ("scroll", {"cursor": "-1:99999999999999999999999"}, "bad_query"),
            ("scroll", {"filter": {"none": 1}}, "bad_filter"),
            ("count", {"filter": {"number": {"like": 3}}}, "bad_filter"),
            ("facets", {"field": "none"}, "bad_filter"),
            ("facets", {"field": " "}, "invalid_request"),
            ("facets", {"field": "number", "limit": 11}, "invalid_request"),
        ]:
            assert_problem(client.post(f"{PAPERS}/{path}", json=body), 422, code)
        lone = client.post(
            f"{PAPERS}/fetch", content=b'{"ids": ["\\ud800"]}', headers={"content-type": "application/json"}
        )
        assert_problem(lone, 422, "invalid_request")
        assert client.post(f"{PAPERS}/fetch", json={"ids": ["a"] * 5}).status_code == 200
        assert client.post(f"{PAPERS}/facets", json={"field": "number", "limit": 10}).status_code == 200
        assert client.post(f"{PAPERS}/count", json={}).json()["count"] == 1


def test_delete_by_ids_and_by_filter(papers):
    put(papers, [paper(i, odd=i % 2) for i in range(10)])
    first = papers.post(f"{PAPERS}/delete", json={"ids": ["p0", "p0", "none"]}).json()
    assert first["deleted"] == 1
    second = papers.post(f"{PAPERS}/delete", json={"filter": {"odd": 1}}).json()
    assert second["deleted"] == 5
    assert second["generation"] > first["generation"]
    assert [document["id"] for document in read_all(papers)] == ["p2", "p4", "p6", "p8"]
    assert papers.post(f"{PAPERS}/delete", json={"ids": ["p0"]}).json()["deleted"] == 0


def test_counts_and_facets_with_a_filter(papers):
    put(papers, [paper(i, kind=["a", "b"][i % 2], score=float(i)) for i in range(9)])
    wanted = {"score": {"gte": 3}}
    assert papers.post(f"{PAPERS}/count", json={"filter": wanted}).json()["count"] == 6
    answer = papers.post(f"{PAPERS}/facets", json={"field": "kind", "filter": wanted, "limit": 1}).json()
    assert answer["values"] == [{"value": "a", "count": 3}]
    assert answer["field"] == "kind"


def test_answers_are_those_of_the_engine(papers, tmp_path):
    given = [Document(f"p{i}", f"lift of wing {i}", metadata={"number": i}) for i in range(30)]
    Engine.build(tmp_path / "twin", given, HashingDense())
    put(papers, [{"id": d.id, "text": d.text, "metadata": dict(d.metadata)} for d in given])
    with Engine.open(tmp_path / "twin", HashingDense()) as engine:
        wanted = {"number": {"lt": 20}}
        shown = [
            {"id": d.id, "title": d.title, "text": d.text, "metadata": d.metadata}
            for d in engine.scroll(limit=100, filter=wanted).documents
        ]
        assert read_all(papers, filter=wanted) == shown
        assert papers.post(f"{PAPERS}/count", json={"filter": wanted}).json()["count"] == engine.count(wanted)


# -- once and only once ---------------------------------------------------------------------------


def test_a_key_makes_a_retry_harmless(papers, assert_problem):
    headers = {"idempotency-key": "one"}
    given = {"documents": [paper(1)]}
    first = papers.post(PAPERS, json=given, params={"mode": "add"}, headers=headers)
    again = papers.post(PAPERS, json=given, params={"mode": "add"}, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    for changed, query in [({"documents": [paper(2)]}, {"mode": "add"}), (given, {"mode": "upsert"})]:
        response = papers.post(PAPERS, json=changed, params=query, headers=headers)
        assert_problem(response, 409, "idempotency_conflict")
    response = papers.post(PAPERS, json=given, params={"mode": "add"})
    assert_problem(response, 422, "bad_documents")


def test_a_key_makes_a_deletion_count_once(papers, assert_problem):
    put(papers, [paper(1), paper(2)])
    headers = {"idempotency-key": "two"}
    for _ in range(2):
        response = papers.post(f"{PAPERS}/delete", json={"ids": ["p1"]}, headers=headers)
        assert response.json()["deleted"] == 1
    response = papers.post(f"{PAPERS}/delete", json={"ids": ["p2"]}, headers=headers)
    assert_problem(response, 409, "idempotency_conflict")
    assert papers.post(f"{PAPERS}/count", json={}).json()["count"] == 1


def test_nothing_is_left_beside_the_collections(papers, tmp_path: Path):
    big = [{**paper(i), "text": "word " * 2000} for i in range(200)]  # more than is kept in memory
    assert put(papers, big).status_code == 200
    left = {path.name for path in (tmp_path / "data").iterdir()}
    assert {name for name in left if not name.startswith("server.")} == {"papers"}
