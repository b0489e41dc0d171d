"""Pages of hits by cursor."""

from __future__ import annotations

import base64
import json

import pytest

from retrieval import Document, Engine
from tests.encoders import HashingDense, HashingLate

QUERY = "drag of a heat shield at speed 3"


def page(client, collection="late", **body):
    response = client.post(
        f"/v1/collections/{collection}/search", json={"query": QUERY, "fields": [], **body}
    )
    assert response.status_code == 200, response.text
    return response.json()


def pages(client, collection="late", **body):
    found, cursor = [], None
    while True:
        answer = page(client, collection, **body, **({"cursor": cursor} if cursor else {}))
        found.append([(hit["id"], hit["score"]) for hit in answer["hits"]])
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


@pytest.mark.parametrize("collection", ["dense", "late"])
@pytest.mark.parametrize("limit", [1, 7, 13, 40, 100])
def test_pages_together_are_the_whole(client, collection, limit):
    whole = [(hit["id"], hit["score"]) for hit in page(client, collection, limit=100)["hits"]]
    found = pages(client, collection, limit=limit)
    assert [hit for hits in found for hit in hits] == whole
    assert len(whole) == 40 and all(len(hits) == limit for hits in found[:-1])


def test_pages_by_vector_and_with_a_filter(client):
    vector = HashingDense().encode_query([QUERY])[0].tolist()
    asked = {"query": None, "vector": vector, "filter": {"open": True}}
    found = pages(client, "dense", limit=6, **asked)
    assert [len(hits) for hits in found] == [6, 6, 6, 2]
    assert [hit for hits in found for hit in hits] == pages(client, "dense", limit=100, **asked)[0]


def test_pages_end_at_the_most_that_may_be_asked_for(serve):
    with serve(max_limit=20) as client:
        found = pages(client, limit=8)
        assert [len(hits) for hits in found] == [8, 8, 4]
        assert [hit for hits in found for hit in hits] == pages(client, limit=20)[0]


def test_another_limit_and_other_fields_may_be_asked_for_on_the_way(client):
    whole = [hit["id"] for hit in page(client, limit=40)["hits"]]
    first = page(client, limit=5)
    second = page(client, limit=9, cursor=first["next_cursor"], explain="plan")
    assert [hit["id"] for hit in second["hits"]] == whole[5:14]


@pytest.mark.parametrize(
    "other", [{"query": "wing"}, {"filter": {"open": True}}, {"params": {"exact": True}}], ids=str
)
def test_a_cursor_of_another_question_is_refused(client, assert_problem, other):
    cursor = page(client, limit=5)["next_cursor"]
    response = client.post(
        "/v1/collections/late/search", json={"query": QUERY, "limit": 5, **other, "cursor": cursor}
    )
    found = assert_problem(response, 422, "invalid_request")
    assert found["errors"][0]["pointer"] == "/cursor" and "another question" in found["detail"]


def encoded(value) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


GARBAGE = {
    "not base64": "$$$",
    "not text": "\u00e9",
    "not JSON": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "deep": base64.urlsafe_b64encode(b"[" * 2000).decode(),
    "no list": encoded({"a": 1}),
    "short": encoded(["0x1p0", "d01", 3]),
    "score": encoded([1.0, "d01", 3, "x"]),
    "huge": encoded(["0x1p99999", "d01", 3, "x"]),
    "nan": encoded(["nan", "d01", 3, "x"]),
    "id": encoded(["0x1p0", 5, 3, "x"]),
    "seen": encoded(["0x1p0", "d01", -3, "x"]),
    "many": encoded(["0x1p0", "d01", True, "x"]),
    "digits": base64.urlsafe_b64encode(b'["0x1p0", "d01", ' + b"9" * 3000 + b', "x"]').decode(),
}


@pytest.mark.parametrize("cursor", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused(client, assert_problem, cursor):
    response = client.post("/v1/collections/late/search", json={"query": QUERY, "cursor": cursor})
    found = assert_problem(response, 422, "invalid_request")
    assert [item["pointer"] for item in found["errors"]] == ["/cursor"]


def test_a_forged_count_costs_no_more_than_the_most(client):
    score, doc_id, _, digest = json.loads(base64.urlsafe_b64decode(page(client, limit=5)["next_cursor"]))
    forged = encoded([score, doc_id, 10**18, digest])
    expected = page(client, limit=40)["hits"][5:15]
    assert page(client, limit=10, cursor=forged)["hits"] == expected


def test_no_document_comes_twice_while_the_collection_changes(serve, tmp_path):
    def document(i: int) -> Document:
        return Document(id=f"p{i:03}", text=f"{'heat shield ' * (i % 5)} study {i} of drag {i % 11}")

    encoder = HashingLate()
    Engine.build(tmp_path / "moving", [document(i) for i in range(60)], encoder)
    given = {"moving": encoder}
    with (
        serve(given=given, data_dir=None, collections={"moving": tmp_path / "moving"}) as client,
        Engine.open(tmp_path / "moving", encoder) as engine,
    ):
        seen, cursor, deleted = [], None, {"p010", "p033"}
        for turn in range(100):
            answer = page(client, "moving", limit=7, **({"cursor": cursor} if cursor else {}))
            seen += [hit["id"] for hit in answer["hits"]]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
            assert len(answer["hits"]) == 7
            if turn < 6:  # they rank before what has been seen, and after it
                engine.add([document(i) for i in range(100 + 15 * turn, 115 + 15 * turn)])
                engine.delete(deleted)
        assert cursor is None
        assert len(seen) == len(set(seen))
        # What was there all the time has been handed out.
        assert {f"p{i:03}" for i in range(60)} - deleted <= set(seen)
