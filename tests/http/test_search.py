from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrieval import Engine
from retrieval.types import Hit, SearchResult
from tests.http.misbehaving import Sick

QUERY = "drag of a heat shield"


def ask(client, collection="late", **body):
    return client.post(f"/v1/collections/{collection}/search", json={"query": QUERY, **body})


@pytest.mark.parametrize("collection", ["dense", "late"])
def test_answers_equal_the_engines(client, indexes, encoders, collection):
    with Engine.open(indexes / collection, encoders[collection]) as engine:
        expected = engine.search(QUERY, k=7)
    body = ask(client, collection, limit=7).json()
    assert [(hit["id"], hit["score"]) for hit in body["hits"]] == [(hit.id, hit.score) for hit in expected]
    assert [(hit["title"], hit["text"]) for hit in body["hits"]] == [
        (hit.title, hit.text) for hit in expected
    ]
    assert body["generation"] == expected.generation
    assert "heat shield" in body["hits"][0]["text"]
    assert "explanation" not in body["hits"][0]


def test_default_limit_is_ten(client):
    assert len(ask(client).json()["hits"]) == 10


def test_timings_by_stage(client):
    timings = ask(client, explain=True).json()["timings_ms"]
    assert {"queue", "encode", "search", "explain", "total"} <= set(timings)
    assert all(value >= 0 for value in timings.values())
    assert timings["total"] >= timings["encode"] + timings["explain"]


def test_a_whole_number_may_be_written_with_a_point(client):
    assert len(ask(client, limit=3.0).json()["hits"]) == 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {"id", "score"}),
        (["title"], {"id", "score", "title"}),
        (["metadata", "text"], {"id", "score", "text", "metadata"}),
    ],
)
def test_fields(client, fields, expected):
    assert all(set(hit) == expected for hit in ask(client, fields=fields).json()["hits"])


@pytest.mark.parametrize("collection", ["dense", "late"])
def test_filters(client, indexes, encoders, collection):
    wanted = {
        "must": [{"key": "year", "range": {"gte": 1980}}],
        "must_not": {"key": "open", "match": {"value": True}},
    }
    short = {"year": {"gte": 1985}, "open": False}
    with Engine.open(indexes / collection, encoders[collection]) as engine:
        for given in (wanted, short):
            hits = ask(client, collection, filter=given, limit=40).json()["hits"]
            assert [hit["id"] for hit in hits] == [hit.id for hit in engine.search(QUERY, 40, filter=given)]
            assert len(hits) == engine.count(given) > 0
    assert ask(client, filter=None, limit=40).json()["hits"] == ask(client, limit=40).json()["hits"]


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ({"yaer": 1}, "bad_filter", "yaer"),
        ({"year": "late"}, "bad_filter", "late"),
        ({"must": [{"key": "year", "range": {"gtee": 1}}]}, "bad_filter", "/must/0/range/gtee"),
        ("year", "invalid_request", "/filter"),
        ([{"key": "year"}], "invalid_request", "/filter"),
    ],
)
def test_filters_that_cannot_be_used(client, given, code, told):
    response = ask(client, filter=given)
    assert response.status_code == 422
    assert response.json()["code"] == code and told in response.json()["detail"]


def test_metadata_dates_are_iso_strings(client):
    hits = ask(client, limit=40).json()["hits"]
    metadata = next(hit["metadata"] for hit in hits if hit["id"] == "d03")
    assert metadata == {
        "year": 1953,
        "published": "1953-03-01",
        "scanned": "2001-02-03T04:05:03",
        "weight": 0.75,
        "open": False,
    }


@pytest.mark.parametrize("collection", ["dense", "late"])
def test_contributions_add_up_to_the_score(client, collection):
    hits = ask(client, collection, explain=True, fields=[]).json()["hits"]
    assert len(hits) == 10
    for hit in hits:
        explanation = hit["explanation"]
        assert math.isclose(explanation["score"], hit["score"], rel_tol=1e-5)
        total = sum(match["contribution"] for match in explanation["matches"])
        assert math.isclose(total, hit["score"], rel_tol=1e-4)


def test_spans_point_at_the_tokens(client):
    explanation = ask(client, explain=True, limit=1).json()["hits"][0]["explanation"]
    matches = explanation["matches"]
    assert [match["query_token"]["text"] for match in matches] == QUERY.split()
    for match in matches:
        asked, found = match["query_token"], match["document_token"]
        assert QUERY[asked["start"] : asked["end"]] == asked["text"]
        assert explanation["text"][found["start"] : found["end"]] == found["text"]
        assert found["text"] == asked["text"]  # every word of the query is in the best document
        assert math.isclose(match["similarity"], 1, abs_tol=1e-2)


def test_sixteen_at_once_answer_as_one_after_the_other(client):
    bodies = [
        {"query": f"{word} at speed {i}", "limit": 5, "explain": i % 2 == 0}
        for i, word in enumerate(["wing", "rotor", "jet", "cone"] * 4)
    ]

    def hits(item):
        i, body = item
        response = client.post(f"/v1/collections/{'dense' if i % 3 else 'late'}/search", json=body)
        assert response.status_code == 200, response.text
        return response.json()["hits"]

    serial = [hits(item) for item in enumerate(bodies)]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(hits, enumerate(bodies))) == serial


def test_numbers_that_json_cannot_say_never_reach_it(client, monkeypatch, capfd):
    weird = {"nan": math.nan, "list": [1.0, math.inf], "nested": {"x": -math.inf}, "none": None}

    def search_batch(self, queries, k=10, **options):
        hits = (Hit("a", 1.0, metadata=weird), Hit("b", math.nan), Hit("c", -math.inf))
        return [SearchResult(hits, 1, {"encode": 0.1})]

    monkeypatch.setattr(Engine, "search_batch", search_batch)
    response = ask(client)
    assert response.status_code == 200
    assert "NaN" not in response.text and "Infinity" not in response.text
    assert response.json()["hits"] == [
        {
            "id": "a",
            "score": 1.0,
            "metadata": {"nan": None, "list": [1.0, None], "nested": {"x": None}, "none": None},
        }
    ]


def test_an_encoder_that_gives_nan_is_a_problem_not_an_answer(serve, encoders, assert_problem):
    sick = Sick()
    with serve(given={**encoders, "dense": sick}) as client:
        sick.armed = True
        body = assert_problem(ask(client, "dense"), 500, "encoder")
    assert "NaN" in body["detail"]
