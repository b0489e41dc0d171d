from __future__ import annotations

import hashlib

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.encoders import HashingDense

KEYS = {
    "all": {"sha256": hashlib.sha256(b"all-of-it").hexdigest(), "scope": "admin"},
    "some": {
        "sha256": hashlib.sha256(b"only-dense").hexdigest(),
        "scope": "read",
        "collections": ["dense"],
    },
}


def scraped(client, **headers) -> dict:
    """(name, label values in the order of their names) -> value."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def search(client, collection="dense", **body):
    return client.post(f"/v1/collections/{collection}/search", json={"query": "wing", **body})


def test_requests_by_route_method_and_status(client):
    for _ in range(3):
        search(client)
    search(client, limit=0)
    search(client, "nothing")
    client.get("/v1/nowhere/secret-path")
    client.request("BREW", "/livez")
    found = scraped(client)
    route = "/v1/collections/{collection}/search"
    assert found["retrieval_requests_total", "POST", route, "200"] == 3
    assert found["retrieval_requests_total", "POST", route, "422"] == 1
    assert found["retrieval_requests_total", "POST", route, "404"] == 1
    assert found["retrieval_requests_total", "GET", "none", "404"] == 1
    assert found["retrieval_requests_total", "other", "/livez", "405"] == 1
    assert found["retrieval_request_seconds_count", "POST", route] == 5
    assert not any("secret" in part or "BREW" in part or "nothing" in part for key in found for part in key)


def test_stages_by_collection(client):
    search(client)
    search(client, "late", explain=True)
    client.post("/v1/collections/late/search/batch", json={"searches": [{"query": "jet"}, {"query": "cone"}]})
    found = scraped(client)
    for stage in ("queue", "encode", "filter", "search", "fetch"):
        assert found["retrieval_stage_seconds_count", "dense", stage] == 1
        assert found["retrieval_stage_seconds_count", "late", stage] == 2
    assert found["retrieval_stage_seconds_count", "late", "explain"] == 1
    assert ("retrieval_stage_seconds_count", "dense", "explain") not in found


def test_what_the_server_is_now(client, indexes):
    found = scraped(client)
    assert found["retrieval_documents", "dense"] == found["retrieval_documents", "late"] == 40
    assert found["retrieval_generation", "late"] >= 1
    assert found["retrieval_collection_state", "dense", "ready"] == 1
    assert sum(value for key, value in found.items() if key[:2] == ("retrieval_index_bytes", "late")) > 1000
    assert found["retrieval_requests_in_flight", "read"] == 0
    assert found["retrieval_jobs_running", "search", "read"] == 1  # this very request
    assert found["retrieval_jobs_waiting", "encode", "read"] == 0
    assert found["retrieval_tasks", "queued"] == found["retrieval_tasks", "running"] == 0
    assert any(key[0] == "retrieval_build_info" and value == 1 for key, value in found.items())
    assert found["process_resident_memory_bytes",] > 0


def test_batches_and_the_cache_of_queries(serve):
    given = {"dense": HashingDense(), "late": HashingDense()}  # the second collection fails to open
    with serve(given=given) as client:
        before = scraped(client)
        for text in ("wing", "jet", "wing", "wing"):
            assert search(client, query=text).status_code == 200
        found = scraped(client)
        assert found["retrieval_collection_state", "late", "failed"] == 1
        assert ("retrieval_documents", "late") not in found

        def grown(*key):
            return found[key] - before[key]

        assert grown("retrieval_query_cache_total", "HashingDense", "hit") == 2
        assert grown("retrieval_query_cache_total", "HashingDense", "miss") == 2
        assert grown("retrieval_encode_batch_size_count", "HashingDense") == 2
        assert grown("retrieval_encode_batch_size_sum", "HashingDense") == 2
        assert grown("retrieval_encode_batch_size_bucket", "1", "HashingDense") == 2


def test_two_applications_count_apart(serve):
    with serve() as one, serve(read_only=True) as other:
        search(one)
        key = ("retrieval_requests_total", "POST", "/v1/collections/{collection}/search", "200")
        assert scraped(one)[key] == 1
        assert key not in scraped(other)


def test_a_key_sees_only_its_collections(serve, assert_problem):
    with serve(keys=KEYS, wait=False) as client:
        assert_problem(client.get("/metrics"), 401, "unauthorized")
        admin = {"api-key": "all-of-it"}
        for _ in range(6000):
            if client.get("/readyz").status_code == 200:
                break
        for collection in ("dense", "late"):
            path = f"/v1/collections/{collection}/search"
            assert client.post(path, json={"query": "x"}, headers=admin).status_code == 200
        everything = scraped(client, **admin)
        some = scraped(client, **{"api-key": "only-dense"})
    assert {"dense", "late"} <= {part for key in everything for part in key}
    seen = {part for key in some for part in key}
    assert "dense" in seen and "late" not in seen
    assert "retrieval_stage_seconds_count" in {key[0] for key in some}


@pytest.mark.parametrize("path", ["search", "search/batch", "explain", "rerank"])
def test_each_question_has_a_route_of_its_own(client, path):
    client.post(f"/v1/collections/late/{path}", json={})
    route = "/v1/collections/{collection}/" + path
    assert scraped(client)["retrieval_requests_total", "POST", route, "422"] == 1
