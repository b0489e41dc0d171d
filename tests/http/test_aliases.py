from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from retrieval import Engine
from server.security.keys import hash_of
from tests.encoders import HashingDense
from tests.http.managing import managing


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    for name in ("blue", "green"):
        Engine.create(folder / name, HashingDense()).close()
    return folder


@pytest.fixture
def encoders():
    return {"blue": HashingDense(), "green": HashingDense()}


@pytest.fixture
def client(data_dir, encoders):
    with managing(data_dir, encoders=encoders) as client:
        yield client


def aliases(client) -> dict[str, str]:
    return {each["alias"]: each["collection"] for each in client.get("/v1/aliases").json()["aliases"]}


def test_an_alias_leads_to_a_collection_until_it_is_moved(client):
    assert client.put("/v1/aliases/main", json={"collection": "blue"}).json() == {
        "alias": "main",
        "collection": "blue",
        "previous": None,
    }
    assert client.get("/v1/collections/main").json()["name"] == "blue"
    assert client.get("/v1/collections/blue").json()["aliases"] == ["main"]
    assert client.put("/v1/aliases/main", json={"collection": "green"}).json()["previous"] == "blue"
    assert client.get("/v1/collections/main").json()["name"] == "green"
    assert client.post("/v1/collections/main/search", json={"query": "wing"}).status_code == 200
    assert client.delete("/v1/aliases/main").status_code == 204
    assert aliases(client) == {}


def test_aliases_are_there_after_a_restart(data_dir, encoders):
    with managing(data_dir, encoders=encoders) as client:
        client.put("/v1/aliases/main", json={"collection": "blue"})
    with managing(data_dir, encoders=encoders) as client:
        assert client.get("/v1/collections/main").json()["name"] == "blue"


def test_what_makes_no_sense(client, assert_problem):
    client.put("/v1/aliases/main", json={"collection": "blue"})
    put = client.put
    assert_problem(put("/v1/aliases/x", json={"collection": "nope"}), 404, "unknown_collection")
    assert_problem(put("/v1/aliases/green", json={"collection": "blue"}), 409, "is_collection")
    assert_problem(put("/v1/aliases/x", json={"collection": "main"}), 409, "is_alias")
    assert_problem(put("/v1/aliases/X", json={"collection": "blue"}), 422, "invalid_request")
    assert_problem(put("/v1/aliases/x", json={}), 422, "invalid_request")
    assert_problem(client.delete("/v1/aliases/x"), 404, "unknown_alias")
    assert_problem(client.delete("/v1/aliases/%00"), 404, "unknown_alias")
    assert aliases(client) == {"main": "blue"}


def test_several_changes_are_one(client, assert_problem):
    put = {"action": "put", "alias": "main", "collection": "blue"}
    old = {"action": "put", "alias": "old", "collection": "green"}
    assert client.post("/v1/aliases", json={"actions": [put, old]}).json()["aliases"] == [
        {"alias": "main", "collection": "blue"},
        {"alias": "old", "collection": "green"},
    ]
    swapped = [
        {"action": "delete", "alias": "old"},
        {"action": "put", "alias": "main", "collection": "green"},
        {"action": "put", "alias": "older", "collection": "blue"},
    ]
    assert client.post("/v1/aliases", json={"actions": swapped}).status_code == 200
    assert aliases(client) == {"main": "green", "older": "blue"}
    for wrong, status, code in (
        ({"action": "delete", "alias": "nope"}, 404, "unknown_alias"),
        ({"action": "put", "alias": "x", "collection": "nope"}, 404, "unknown_collection"),
        ({"action": "put", "alias": "x"}, 422, "invalid_request"),
    ):
        answer = client.post("/v1/aliases", json={"actions": [{"action": "delete", "alias": "main"}, wrong]})
        assert_problem(answer, status, code)
        assert aliases(client) == {"main": "green", "older": "blue"}


def test_the_list_comes_in_pages(client):
    for name in ("a", "b", "c"):
        client.put(f"/v1/aliases/{name}", json={"collection": "blue"})
    first = client.get("/v1/aliases?limit=2").json()
    assert ([each["alias"] for each in first["aliases"]], first["next_cursor"]) == (["a", "b"], "b")
    rest = client.get("/v1/aliases?limit=2&cursor=b").json()
    assert ([each["alias"] for each in rest["aliases"]], rest["next_cursor"]) == (["c"], None)


def test_a_search_by_alias_never_fails_while_it_is_moved(client):
    client.put("/v1/aliases/main", json={"collection": "blue"})

    def moving(i: int) -> int:
        target = "green" if i % 2 else "blue"
        return client.put("/v1/aliases/main", json={"collection": target}).status_code

    def searching(_: int) -> int:
        return client.post("/v1/collections/main/search", json={"query": "wing"}).status_code

    with ThreadPoolExecutor(4) as pool:
        moves, searches = pool.map(moving, range(40)), pool.map(searching, range(80))
        assert set(moves) == set(searches) == {200}


def test_a_key_moves_only_what_is_its_own(data_dir, encoders, assert_problem):
    keys = {
        "all": {"sha256": hash_of("a" * 20), "scope": "admin"},
        "blues": {"sha256": hash_of("b" * 20), "scope": "admin", "collections": ["blue*"]},
    }
    everything, blues = {"api-key": "a" * 20}, {"api-key": "b" * 20}
    with managing(data_dir, encoders=encoders, keys=keys) as client:
        client.put("/v1/aliases/main", json={"collection": "green"}, headers=everything)
        client.put("/v1/aliases/blue-next", json={"collection": "green"}, headers=everything)
        for alias, collection in (
            ("main", "blue"),
            ("blue-x", "green"),
            ("new", "blue"),
            ("blue-next", "blue"),
        ):
            answer = client.put(f"/v1/aliases/{alias}", json={"collection": collection}, headers=blues)
            assert_problem(answer, 403, "forbidden")
        assert_problem(client.delete("/v1/aliases/main", headers=blues), 403, "forbidden")
        made = client.put("/v1/aliases/blue-x", json={"collection": "blue"}, headers=blues)
        assert made.status_code == 200
        shown = client.get("/v1/aliases", headers=blues).json()["aliases"]
        assert shown == [{"alias": "blue-x", "collection": "blue"}]
        # An alias gives no right to what it leads to.
        assert_problem(client.get("/v1/collections/blue-next", headers=blues), 403, "forbidden")
