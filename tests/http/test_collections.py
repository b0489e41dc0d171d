from __future__ import annotations

from retrieval import Document, Engine


def test_list(client):
    assert client.get("/v1/collections").json() == {
        "collections": [
            {"name": "dense", "state": "ready", "kind": "dense", "documents": 40, "aliases": []},
            {"name": "late", "state": "ready", "kind": "late", "documents": 40, "aliases": []},
        ],
        "next_cursor": None,
    }


def test_detail_is_what_the_engine_says(client, indexes):
    with Engine.open(indexes / "late") as engine:
        info = engine.inspect()
    body = client.get("/v1/collections/late").json()
    assert body["name"] == "late"
    assert (body["kind"], body["metric"], body["dim"]) == ("late", "maxsim", 32)
    assert body["documents"] == 40
    assert body["tokens"] == info.tokens > 40
    assert body["bytes"] == info.bytes
    assert body["generation"] == info.generation
    assert body["precision"] == "float16"
    assert body["segments"] == 1
    assert body["encoder"] is None
    assert (body["pending"], body["pooling"], body["aliases"]) == (0, "none", [])
    assert (body["recipe"], body["quality"], body["advice"]) == (None, None, [])
    assert set(body["fields"]) == {"year", "published", "scanned", "weight", "open"}


def test_an_added_document_is_seen_without_a_restart(tmp_path, serve, encoders):
    engine = Engine.create(tmp_path / "notes", encoders["late"])
    with engine, serve(data_dir=tmp_path, given={"notes": encoders["late"]}) as client:
        assert client.get("/v1/collections/notes").json()["documents"] == 0
        assert client.post("/v1/collections/notes/search", json={"query": "wing"}).json()["hits"] == []
        engine.add([Document(id="new", text="a wing")])
        assert client.get("/v1/collections/notes").json()["documents"] == 1
        hits = client.post("/v1/collections/notes/search", json={"query": "wing"}).json()["hits"]
        assert [hit["id"] for hit in hits] == ["new"]


def test_unknown_collection_names_the_known_ones(client, assert_problem):
    for response in (
        client.get("/v1/collections/lat"),
        client.post("/v1/collections/lat/search", json={"query": "wing"}),
    ):
        body = assert_problem(response, 404, "unknown_collection")
        assert body["detail"] == "there is no collection 'lat'; known: 'dense', 'late'"


def test_hostile_names_are_only_unknown(client):
    for name in (
        "%2e%2e",
        "..%2f..%2fetc",
        "%00",
        "a%0d%0aSet-Cookie:x",
        "%ff%fe",
        "%f0%9f%98%80",
        "x" * 5000,
    ):
        response = client.get(f"/v1/collections/{name}")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
        assert "set-cookie" not in response.headers
